"""The sensor that has new snapshots of silver tables checked, all that have some in one run."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from lakehouse_assets.streaming.checks import checked_up_to, contract_check, silver_tables
from lakehouse_assets.streaming.jobs import SILVER_QUALITY

UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dg.sensor(
    name="unchecked_snapshots",
    job=SILVER_QUALITY,
    description="Has the rows of new snapshots of silver tables checked, once in an interval for all of them",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    required_resource_keys={"settings", "catalog"},
)
def unchecked_snapshots(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Ask for one run that checks the tables with rows that no check has looked at.

    The cursor is the interval that was asked in last, which is the key of the run, too: where the daemon is killed
    before it stores the cursor, it knows the run by its key. What is checked is in the evaluations alone, so that
    a run that failed is made up for in the next interval. While a run waits in the queue, no other is asked for.
    """
    from resources.increment import has_increment  # a code location loads without it

    interval = _interval(utc_now(), timedelta(seconds=context.resources.settings.silver_check_interval_s))
    if context.cursor == interval:
        return dg.SensorResult(skip_reason=f"asked in the interval from {interval} already", cursor=interval)
    if context.instance.get_runs_count(dg.RunsFilter(job_name=SILVER_QUALITY.name, statuses=UNFINISHED)):
        return dg.SensorResult(skip_reason="a run that checks silver is under way", cursor=context.cursor)
    tables = [(each, context.resources.catalog.load_table(each.identifier)) for each in silver_tables()]
    unchecked = [
        contract_check(declared)
        for declared, table in tables
        if has_increment(table, after=checked_up_to(context.instance, declared, table))
    ]
    if not unchecked:
        return dg.SensorResult(skip_reason="no new rows", cursor=context.cursor)
    return dg.SensorResult(
        run_requests=[dg.RunRequest(run_key=interval, asset_check_keys=unchecked)], cursor=interval
    )


def utc_now() -> datetime:
    """The time of the tick."""
    return datetime.now(UTC)


def _interval(now: datetime, length: timedelta) -> str:
    """Start of the interval that ``now`` lies in: intervals of this length from 1970 on."""
    epoch = datetime.fromtimestamp(0, UTC)
    return (now - (now - epoch) % length).isoformat(timespec="seconds")
