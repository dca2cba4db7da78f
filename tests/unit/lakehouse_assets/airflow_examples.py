"""Definitions to export: small, and with one of each kind of thing."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

BERLIN = "Europe/Berlin"
DAYS = dg.DailyPartitionsDefinition(start_date="2023-01-01", timezone="UTC", end_offset=1)
STREAM = dg.AssetSpec(
    ["bronze", "events"],
    owners=["team:stream"],
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(minutes=20)),
)


@dg.asset(
    key=["gold", "hourly"],
    deps=[STREAM],
    description="One row an hour",
    partitions_def=DAYS,
    pool="gold.hourly",
    owners=["team:gold"],
    tags={"layer": "gold"},
    group_name="gold",
    retry_policy=dg.RetryPolicy(max_retries=3, delay=30, backoff=dg.Backoff.EXPONENTIAL),
    metadata={
        "dagster/table_name": "gold.hourly",
        "dagster/column_schema": dg.TableSchema(
            [dg.TableColumn("speed", "double", description="Mean speed [km/h]")]
        ),
    },
    check_specs=[
        dg.AssetCheckSpec("contract", asset=["gold", "hourly"], blocking=True, description="Rows are as declared"),
        dg.AssetCheckSpec("volume", asset=["gold", "hourly"]),
    ],
)
def hourly() -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    yield dg.AssetCheckResult(check_name="contract", passed=True)
    yield dg.AssetCheckResult(check_name="volume", passed=True)
    yield dg.MaterializeResult()


@dg.asset(key=["gold", "city"], deps=[hourly], partitions_def=DAYS, group_name="gold")
def city() -> None: ...


@dg.multi_asset(
    specs=[
        dg.AssetSpec(["report", name], deps=[city], partitions_def=DAYS, group_name="report")
        for name in ("a", "b")
    ]
)
def reports() -> Iterator[dg.MaterializeResult]:
    yield dg.MaterializeResult(asset_key=["report", "a"])
    yield dg.MaterializeResult(asset_key=["report", "b"])


class UpkeepConfig(dg.Config):
    deep: bool = False


@dg.asset(group_name="upkeep", deps=[STREAM])
def upkeep(config: UpkeepConfig) -> None: ...


@dg.asset_check(asset=STREAM.key, name="fresh")
def fresh() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


DAILY_JOB = dg.define_asset_job("daily", selection=dg.AssetSelection.assets(hourly, city, *reports.keys))
UPKEEP_JOB = dg.define_asset_job("upkeep_job", selection=["upkeep"], tags={"dagster/max_runtime": "900"})
CHECKS_JOB = dg.define_asset_job("checks", selection=dg.AssetSelection.checks_for_assets(STREAM.key))


@dg.schedule(job_name="daily", cron_schedule="30 1 * * *", execution_timezone=BERLIN, name="nightly")
def nightly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    return dg.RunRequest(partition_key=f"{context.scheduled_execution_time - timedelta(days=1):%Y-%m-%d}")


@dg.schedule(job_name="daily", cron_schedule="0 6 * * 1", execution_timezone="UTC", name="weekly")
def weekly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    last = context.scheduled_execution_time - timedelta(days=1)
    first = last - timedelta(days=6)
    return dg.RunRequest(
        tags={
            "dagster/asset_partition_range_start": f"{first:%Y-%m-%d}",
            "dagster/asset_partition_range_end": f"{last:%Y-%m-%d}",
        }
    )


@dg.schedule(job_name="daily", cron_schedule="5 * * * *", execution_timezone="UTC", name="hourly_run")
def every_hour(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    return dg.RunRequest(partition_key=f"{context.scheduled_execution_time - timedelta(hours=1):%Y-%m-%d}")


@dg.schedule(job=UPKEEP_JOB, cron_schedule="40 */2 * * *", execution_timezone="UTC", name="two_hourly")
def two_hourly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    deep = context.scheduled_execution_time.hour == 2
    return dg.RunRequest(run_config=dg.RunConfig({"upkeep": UpkeepConfig(deep=deep)}))


@dg.sensor(job=UPKEEP_JOB)
def watcher() -> None: ...


def definitions(
    *more: dg.AssetsDefinition,
    schedules: tuple[dg.ScheduleDefinition, ...] = (),
    job: UnresolvedAssetJobDefinition = DAILY_JOB,
) -> dg.Definitions:
    """The example, with further assets and schedules, and ``job`` for the daily one."""
    return dg.Definitions(
        assets=[STREAM, hourly, city, reports, upkeep, *more],
        asset_checks=[fresh],
        jobs=[job, UPKEEP_JOB, CHECKS_JOB],
        schedules=[nightly, weekly, every_hour, two_hourly, *schedules],
        sensors=[watcher],
    )


def requested_days(
    schedule: dg.ScheduleDefinition, tick: datetime, repository: dg.RepositoryDefinition
) -> tuple[str | None, str | None]:
    """First and last day that Dagster itself asks for at a tick."""
    with dg.build_schedule_context(scheduled_execution_time=tick, repository_def=repository) as context:
        [request] = schedule.evaluate_tick(context).run_requests or ()
    return (
        request.tags.get("dagster/asset_partition_range_start", request.partition_key),
        request.tags.get("dagster/asset_partition_range_end", request.partition_key),
    )
