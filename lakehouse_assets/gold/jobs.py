"""The jobs that recompute days of gold tables, and their schedules."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg

from contracts import (
    Family,
    Table,
    anomalies,
    city_hourly,
    families,
    gold_daily,
    gold_hourly,
    sensor_health,
)
from lakehouse_assets.describe import table_key

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

DAY_CLOSES_AFTER = timedelta(minutes=25)
"""How long after its end a day is computed for good; later events have it computed again."""


def _of_all_families(*tables: Callable[[Family], Table]) -> dg.AssetSelection:
    return dg.AssetSelection.assets(*(table_key(of(member)) for of in tables for member in families()))


def _of_the_city(*tables: Callable[[Sequence[Family]], Table]) -> dg.AssetSelection:
    return dg.AssetSelection.assets(*(table_key(of(families())) for of in tables))


GOLD_HOURLY = dg.define_asset_job(
    "gold_hourly",
    selection=_of_all_families(gold_hourly) | _of_the_city(city_hourly),
    description="Recomputes days of all hourly tables, in one Spark session, and publishes them",
)

GOLD_DAILY = dg.define_asset_job(
    "gold_daily",
    selection=(_of_all_families(gold_hourly, gold_daily) | _of_the_city(city_hourly, sensor_health, anomalies)),
    description="Closes days: recomputes all gold tables from bronze, late events included",
)


def schedule_of_day(
    job: "UnresolvedAssetJobDefinition", name: str, cron: str, ago: timedelta, why: str
) -> dg.ScheduleDefinition:
    """A schedule that asks for the day in which the time ``ago`` before its tick lies."""

    @dg.schedule(
        job=job,
        name=name,
        cron_schedule=cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=why,
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        return dg.RunRequest(partition_key=f"{context.scheduled_execution_time - ago:%Y-%m-%d}")

    return schedule


gold_hourly_schedule = schedule_of_day(
    GOLD_HOURLY,
    "gold_hourly_after_the_hour",
    "5 * * * *",
    timedelta(hours=1),
    "Recomputes the day of the hour that has just ended; after midnight that is yesterday",
)
gold_daily_schedule = schedule_of_day(
    GOLD_DAILY,
    "gold_daily_after_midnight",
    f"{DAY_CLOSES_AFTER.seconds // 60} 0 * * *",
    timedelta(days=1),
    "Closes yesterday, once events that come up to twenty-five minutes late are in",
)
