"""The code location: what Dagster loads. Nothing here opens a connection."""

import dagster as dg

from lakehouse_assets.alerts import failed_run_alert
from lakehouse_assets.connections import catalog_resource, settings_resource, spark_resource
from lakehouse_assets.exposures import exposures
from lakehouse_assets.freshness_checks import freshness_checks
from lakehouse_assets.gold.assets import gold_assets
from lakehouse_assets.gold.automation import GOLD_FOLLOWS
from lakehouse_assets.gold.contract_change import contract_change
from lakehouse_assets.gold.jobs import GOLD_DAILY, GOLD_HOURLY, gold_daily_schedule, gold_hourly_schedule
from lakehouse_assets.gold.late_data import late_data
from lakehouse_assets.gold.reference_check import reference_checks
from lakehouse_assets.maintenance.assets import maintenance_assets
from lakehouse_assets.maintenance.jobs import MAINTENANCE, maintenance_schedule
from lakehouse_assets.quality.assets import quality_asset
from lakehouse_assets.quality.jobs import QUALITY_REPORT, quality_report_schedule, weekly_report_schedule
from lakehouse_assets.streaming.assets import streaming_assets
from lakehouse_assets.streaming.audit_check import audit_checks
from lakehouse_assets.streaming.checks import streaming_checks
from lakehouse_assets.streaming.jobs import SILVER_QUALITY, STREAMING_QUALITY, STREAMING_QUALITY_SCHEDULE
from lakehouse_assets.streaming.reconciliation_check import reconciliation_checks
from lakehouse_assets.streaming.sensors import stream_snapshots
from lakehouse_assets.streaming.stuck import progress_checks, stuck_stream
from lakehouse_assets.streaming.topics import topic_offsets
from lakehouse_assets.streaming.unchecked import unchecked_snapshots

defs = dg.Definitions(
    assets=[
        *streaming_assets(),
        *gold_assets(),
        quality_asset(),
        *maintenance_assets(),
        *exposures(),
    ],
    asset_checks=[
        *streaming_checks(),
        *audit_checks(),
        *reconciliation_checks(),
        *progress_checks(),
        *freshness_checks(),
        *reference_checks(),
    ],
    jobs=[GOLD_HOURLY, GOLD_DAILY, MAINTENANCE, STREAMING_QUALITY, SILVER_QUALITY, QUALITY_REPORT],
    schedules=[
        gold_hourly_schedule,
        gold_daily_schedule,
        maintenance_schedule,
        STREAMING_QUALITY_SCHEDULE,
        quality_report_schedule,
        weekly_report_schedule,
    ],
    sensors=[
        stream_snapshots,
        topic_offsets,
        stuck_stream,
        unchecked_snapshots,
        late_data,
        contract_change,
        GOLD_FOLLOWS,
        failed_run_alert,
    ],
    resources={"settings": settings_resource, "catalog": catalog_resource, "spark": spark_resource},
    # one process, so that one Spark session serves all steps of a run
    executor=dg.in_process_executor,
)
