"""A day is not joined without one of the tables that it is computed from."""

from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest
from iceberg_on_disk import arrow_rows, plausible_row
from pyiceberg.catalog import Catalog

from contracts import Table, anomalies, bronze_events, city_hourly, families, family, gold_hourly, sensor_health
from lakehouse_assets.gold.anomaly_query import anomaly_recipe
from lakehouse_assets.gold.city_query import city_recipe
from lakehouse_assets.gold.health_query import health_recipe
from lakehouse_assets.gold.missing import require_upstream_days
from lakehouse_assets.gold.partitions import DAILY
from lakehouse_assets.gold.query import windows_recipe
from lakehouse_assets.gold.recipe import Recipe

TRAFFIC, ENERGY = family("traffic"), family("energy")
CITY = city_recipe(city_hourly(families()))
FIRST = datetime(2026, 3, 27, tzinfo=UTC)
DAY = timedelta(days=1)


def put(catalog: Catalog, declared: Table, *days: int) -> None:
    rows = []
    for number, day in enumerate(days):
        # the last hour of the day
        time = {declared.event_time: FIRST + (day + 1) * DAY - timedelta(hours=1)}
        rows.append(plausible_row(declared, number) | time)
    catalog.load_table(declared.identifier).append(arrow_rows(catalog, declared, rows))


def require(catalog: Catalog, recipe: Recipe = CITY, days: int = 5) -> None:
    require_upstream_days(catalog, recipe, FIRST, FIRST + days * DAY)


def test_a_day_that_one_hourly_table_lacks_is_named_with_the_command(disk_catalog: Catalog) -> None:
    put(disk_catalog, bronze_events(TRAFFIC), 0, 1, 2, 4)
    put(disk_catalog, gold_hourly(TRAFFIC), 0)
    put(disk_catalog, bronze_events(ENERGY), 0, 1)
    put(disk_catalog, gold_hourly(ENERGY), 0, 1)
    with pytest.raises(dg.Failure) as failure:
        require(disk_catalog)
    assert failure.value.description == (
        "gold.city_hourly is not computed: gold.traffic_hourly lacks 2026-03-28, 2026-03-29, 2026-03-31, although "
        "there are events. Compute them first: "
        "./lakehouse backfill gold/traffic_hourly --from 2026-03-28 --to 2026-03-29 ; "
        "./lakehouse backfill gold/traffic_hourly --from 2026-03-31 --to 2026-03-31"
    )
    require(disk_catalog, days=1)
    put(disk_catalog, gold_hourly(TRAFFIC), 1, 2, 4)
    require(disk_catalog)


def test_a_day_without_events_is_not_missing(disk_catalog: Catalog) -> None:
    require(disk_catalog)
    put(disk_catalog, bronze_events(TRAFFIC), -1, 5)  # the days around
    put(disk_catalog, gold_hourly(ENERGY), 0)  # whose events have expired
    require(disk_catalog)


def test_only_the_day_itself_is_needed(disk_catalog: Catalog) -> None:
    put(disk_catalog, bronze_events(TRAFFIC), -7, 0)
    health, unlike = health_recipe(sensor_health(families())), anomaly_recipe(anomalies(families()))
    # the days before are where a sensor is looked for that is silent, and what an hour is held against
    require(disk_catalog, health)
    require(disk_catalog, windows_recipe(gold_hourly(TRAFFIC), bronze_events(TRAFFIC)))
    with pytest.raises(
        dg.Failure, match=r"gold\.anomalies is not computed: gold\.traffic_hourly lacks 2026-03-27,"
    ):
        require(disk_catalog, unlike)
    put(disk_catalog, gold_hourly(TRAFFIC), 0)
    require(disk_catalog, unlike)


@pytest.mark.parametrize("changes", [date(2026, 3, 29), date(2026, 10, 25)])  # of the clocks in Europe
def test_every_day_has_twenty_four_hours(changes: date) -> None:
    window = DAILY.time_window_for_partition_key(changes.isoformat())
    assert (window.start, window.end) == (
        datetime(changes.year, changes.month, changes.day, tzinfo=UTC),
        datetime(changes.year, changes.month, changes.day + 1, tzinfo=UTC),
    )
