"""A code location for Airflow to call: a stream, tables that pass their checks, one that fails, what is below."""

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg

DAYS = dg.DailyPartitionsDefinition(start_date="2024-01-01", timezone="UTC", end_offset=1)
STREAM = dg.AssetSpec(
    ["bronze", "stream"], freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(minutes=10))
)


def table(name: str, *deps: str, passes: bool) -> dg.AssetsDefinition:
    """A table that is computed from others, with a blocking check."""
    key = dg.AssetKey(["gold", name])

    @dg.asset(
        key=key,
        deps=[dg.AssetKey(dep.split("/")) for dep in deps],
        partitions_def=DAYS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=f"gold.{name}",
        metadata={"dagster/table_name": f"gold.{name}"},
        check_specs=[dg.AssetCheckSpec("contract", asset=key, blocking=True)],
    )
    def computed(context: dg.AssetExecutionContext) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]:
        context.log.info(f"computes {context.partition_keys}")
        yield dg.AssetCheckResult(check_name="contract", passed=passes, description=f"{name} is what it is")
        if not passes:
            raise dg.Failure(f"{name} is not published")
        yield dg.MaterializeResult()

    return computed


GATE = "may_go_on"
"""File in Dagster's home that a slow run waits for."""


@dg.asset(group_name="waits")
def slow(context: dg.AssetExecutionContext) -> None:
    """Waits until :data:`GATE` is there."""
    while not (Path(context.instance.root_directory) / GATE).exists():
        time.sleep(0.1)


@dg.asset(group_name="waits")
def never() -> None:
    """Waits until it is cancelled."""
    time.sleep(600)


LEDGER = "ledger"
"""File in Dagster's home with a line of JSON for each computation that begins or ends."""
LEDGER_GATE = "ledger_may_go_on"
"""File in Dagster's home that computations in the ledger wait for."""


def recorded(name: str, *deps: dg.AssetKey, group: str = "ledger") -> dg.AssetsDefinition:
    """A table whose computations are in the ledger; one that does not end has a beginning there only."""
    key = dg.AssetKey(["ledger", name])

    @dg.asset(
        key=key,
        deps=deps,
        partitions_def=DAYS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=f"ledger.{name}",
        group_name=group,
        check_specs=[dg.AssetCheckSpec("contract", asset=key, blocking=True)],
    )
    def computed(context: dg.AssetExecutionContext) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]:
        home = Path(context.instance.root_directory)
        entry = {"table": name, "days": list(context.partition_keys), "run": context.run_id}
        _enter(home, entry | {"event": "begins"})
        while not (home / LEDGER_GATE).exists():
            time.sleep(0.1)
        _enter(home, entry | {"event": "ends"})
        yield dg.AssetCheckResult(check_name="contract", passed=True)
        yield dg.MaterializeResult()

    return computed


def _enter(home: Path, entry: dict[str, object]) -> None:
    with (home / LEDGER).open("a") as ledger:
        ledger.write(json.dumps(entry) + "\n")


FIRST = recorded("first", STREAM.key)

JOB = dg.define_asset_job(
    "daily", selection=dg.AssetSelection.groups("default") - dg.AssetSelection.assets(STREAM.key)
)


def daily(job: str, name: str) -> dg.ScheduleDefinition:
    """A schedule that asks for the day before the tick."""

    @dg.schedule(job_name=job, cron_schedule="25 0 * * *", execution_timezone="UTC", name=name)
    def asks(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        """Ask for the day before the tick."""
        return dg.RunRequest(partition_key=f"{context.scheduled_execution_time - timedelta(days=1):%Y-%m-%d}")

    return asks


defs = dg.Definitions(
    assets=[
        STREAM,
        table("good", "bronze/stream", passes=True),
        table("below_good", "gold/good", passes=True),
        table("bad", "bronze/stream", passes=False),
        slow,
        never,
        table("below_bad", "gold/bad", passes=True),
        FIRST,
        recorded("second", FIRST.key),
        recorded("alone", group="alone"),
    ],
    jobs=[
        JOB,
        dg.define_asset_job("daily_in_ledger", selection=dg.AssetSelection.groups("ledger")),
        dg.define_asset_job("daily_alone", selection=dg.AssetSelection.groups("alone")),
        dg.define_asset_job("run_slow", selection=["slow"]),
        dg.define_asset_job("run_never", selection=["never"], tags={"dagster/max_runtime": "5"}),
    ],
    schedules=[
        daily("daily", "closes_yesterday"),
        daily("daily_in_ledger", "keeps_ledger"),
        daily("daily_alone", "keeps_alone"),
    ],
    executor=dg.in_process_executor,
)
