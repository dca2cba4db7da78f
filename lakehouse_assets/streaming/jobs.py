"""The job that checks the tables of Flink, and its schedule."""

import dagster as dg

from contracts import all_tables
from lakehouse_assets.describe import table_key
from lakehouse_assets.freshness_checks import CHECK_NAME as LAG_CHECK
from lakehouse_assets.streaming.assets import streaming_tables

STREAMING_QUALITY = dg.define_asset_job(
    "streaming_quality",
    selection=(
        dg.AssetSelection.checks_for_assets(*(table_key(declared) for declared in streaming_tables()))
        | dg.AssetSelection.checks(*(dg.AssetCheckKey(table_key(each), LAG_CHECK) for each in all_tables()))
    ),
    description="Checks the rows that streams wrote lately against their contracts, and how far tables reach",
)

STREAMING_QUALITY_SCHEDULE = dg.ScheduleDefinition(
    name="streaming_quality_half_hourly",
    job=STREAMING_QUALITY,
    cron_schedule="*/30 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
