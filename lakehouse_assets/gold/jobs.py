"""The jobs that recompute days of gold tables, and their schedules."""

from collections.abc import Callable
from datetime import timedelta

import dagster as dg

from contracts import Family, Table, families, gold_daily, gold_hourly
from lakehouse_assets.describe import table_key


def _of_all_families(*tables: Callable[[Family], Table]) -> dg.AssetSelection:
    return dg.AssetSelection.assets(*(table_key(of(member)) for of in tables for member in families()))


GOLD_HOURLY = dg.define_asset_job(
    "gold_hourly",
    selection=_of_all_families(gold_hourly),
    description="Recomputes days of all hourly tables from bronze, in one Spark session, and publishes them",
)

GOLD_DAILY = dg.define_asset_job(
    "gold_daily",
    selection=_of_all_families(gold_hourly, gold_daily),
    description="Closes days: recomputes all hourly and daily tables from bronze, late events included",
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


@dg.schedule(
    job=GOLD_DAILY,
    name="gold_daily_after_midnight",
    cron_schedule="25 0 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Closes yesterday, once events that come up to twenty-five minutes late are in",
)
def gold_daily_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Request the day before that of the tick."""
    yesterday = context.scheduled_execution_time - timedelta(days=1)
    return dg.RunRequest(partition_key=f"{yesterday:%Y-%m-%d}")
