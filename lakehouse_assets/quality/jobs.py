"""When the evaluations are kept and the report is written."""

from datetime import timedelta

import dagster as dg

from contracts import quality_results
from lakehouse_assets.describe import table_key
from lakehouse_assets.gold.jobs import schedule_of_day
from lakehouse_assets.gold.partitions import range_tags

QUALITY_REPORT = dg.define_asset_job(
    "quality_report",
    selection=dg.AssetSelection.assets(table_key(quality_results())),
    description="Keeps what the checks of a day said, and writes the report",
)

quality_report_schedule = schedule_of_day(
    QUALITY_REPORT,
    "quality_report_hourly",
    "35 * * * *",
    timedelta(hours=1),
    "Keeps what the checks of the running day said, and writes the report; after midnight that is yesterday",
)


@dg.schedule(
    job=QUALITY_REPORT,
    name="quality_report_weekly",
    cron_schedule="15 6 * * 1",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Reads the evaluations of the week before again, and writes the report",
)
def weekly_report_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Ask for the seven days before the tick, as one run."""
    last = context.scheduled_execution_time.date() - timedelta(days=1)
    return dg.RunRequest(tags=range_tags(last - timedelta(days=6), last))
