"""The jobs that check the tables of services: all checks by schedule, new rows of silver when a sensor asks."""

import dagster as dg

from contracts import all_tables
from lakehouse_assets.describe import table_key
from lakehouse_assets.freshness_checks import CHECK_NAME as LAG_CHECK
from lakehouse_assets.streaming.assets import streaming_tables
from lakehouse_assets.streaming.checks import contract_check, silver_tables

STREAMING_QUALITY = dg.define_asset_job(
    "streaming_quality",
    selection=(
        dg.AssetSelection.checks_for_assets(*(table_key(declared) for declared in streaming_tables()))
        | dg.AssetSelection.checks(*(dg.AssetCheckKey(table_key(each), LAG_CHECK) for each in all_tables()))
    ),
    description="Checks new rows of streams against their contracts, and runs the other checks of their tables",
)

STREAMING_QUALITY_SCHEDULE = dg.ScheduleDefinition(
    name="streaming_quality_half_hourly",
    job=STREAMING_QUALITY,
    cron_schedule="*/30 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)

SILVER_QUALITY = dg.define_asset_job(
    "silver_quality",
    selection=dg.AssetSelection.checks(*(contract_check(declared) for declared in silver_tables())),
    description="Checks the rows of new snapshots of silver tables against their contracts",
)
