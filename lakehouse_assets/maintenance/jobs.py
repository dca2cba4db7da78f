"""The job that keeps all tables, and its schedule."""

import dagster as dg

from contracts import all_tables
from lakehouse_assets.maintenance.assets import MaintenanceConfig, maintenance_key

ORPHANS_AT_HOUR = 2

MAINTENANCE = dg.define_asset_job(
    "maintenance",
    selection=dg.AssetSelection.assets(*(maintenance_key(declared) for declared in all_tables())),
    # of the runs that wait, those that people wait for go first
    tags={"dagster/priority": "-1"},
    description="Joins small files, expires old snapshots and, once a day, removes left-over files of all tables",
)


@dg.schedule(
    job=MAINTENANCE,
    name="maintenance_hourly",
    cron_schedule="40 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Away from the full hour, when gold is computed; left-over files are looked for at night",
)
def maintenance_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Request the upkeep of all tables."""
    config = MaintenanceConfig(orphans=context.scheduled_execution_time.hour == ORPHANS_AT_HOUR)
    return dg.RunRequest(
        run_config=dg.RunConfig(
            {maintenance_key(declared).to_python_identifier(): config for declared in all_tables()}
        )
    )
