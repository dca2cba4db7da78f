"""The job that recomputes days of all gold tables, and its schedule."""

from datetime import timedelta

import dagster as dg

from contracts import families, gold_hourly
from lakehouse_assets.describe import table_key

GOLD_HOURLY = dg.define_asset_job(
    "gold_hourly",
    selection=dg.AssetSelection.assets(*(table_key(gold_hourly(member)) for member in families())),
    description="Recomputes days of all hourly tables from bronze, in one Spark session, and checks them",
)


@dg.schedule(
    job=GOLD_HOURLY,
    name="gold_hourly_after_the_hour",
    cron_schedule="5 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Recomputes the day of the hour that has just ended; after midnight that is yesterday",
)
def gold_hourly_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Request the partition that the hour before the tick lies in."""
    ended_hour = context.scheduled_execution_time - timedelta(hours=1)
    return dg.RunRequest(partition_key=f"{ended_hour:%Y-%m-%d}")
