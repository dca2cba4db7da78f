"""Days that are not as they should be, on Spark: what gold says of each is worked out by hand."""

import os
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from in_process import materialize
from pyiceberg.catalog import Catalog
from pyspark.sql import SparkSession

from contracts import Table, bronze_events, city_hourly, families, family, gold_daily, gold_hourly
from lakehouse_assets.gold.assets import gold_asset, window_asset
from lakehouse_assets.gold.city_query import city_recipe
from lakehouse_assets.gold.recipe import time_filter
from resources.catalog import ensure_tables, open_catalog
from settings import Settings

WEATHER = family("weather")
BRONZE, HOURLY, DAILY, CITY = (
    bronze_events(WEATHER),
    gold_hourly(WEATHER),
    gold_daily(WEATHER),
    city_hourly(families()),
)
FIRST, END = datetime(2004, 3, 1, tzinfo=UTC), datetime(2004, 12, 1, tzinfo=UTC)
"""Days that no stream writes to."""
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NO_PARTITION = 99
"""The topic has none of this number, and these offsets have no gap: no collector looks for what lies between."""


@pytest.fixture
def catalog(settings: Settings) -> Iterator[Catalog]:
    """The catalog, whose tables end up as they were on the days of this test: empty."""
    catalog = open_catalog(settings)
    every = [CITY, *(of(member) for member in families() for of in (bronze_events, gold_hourly, gold_daily))]
    ensure_tables(catalog, every, commit_retries=settings.commit_retries)
    yield catalog
    for declared in (BRONZE, HOURLY, DAILY, CITY):
        catalog.load_table(declared.identifier).delete(time_filter(declared.event_time, FIRST, END))


@pytest.fixture
def berlin(session: SparkSession) -> Iterator[None]:
    """A machine whose clock changes for summer, its JVM too."""
    zones, before = session.sparkContext._jvm.java.util.TimeZone, os.environ.get("TZ")
    default = zones.getDefault()
    os.environ["TZ"] = "Europe/Berlin"
    time.tzset()
    zones.setDefault(zones.getTimeZone("Europe/Berlin"))
    yield
    zones.setDefault(default)
    os.environ.pop("TZ") if before is None else os.environ.update(TZ=before)
    time.tzset()


def event(at: datetime, sensor: str = "s", zone: str | None = "centre", **values: Any) -> dict[str, Any]:
    return {"event_time": at, "sensor_id": sensor, "zone": zone, "temperature_c": 10.0} | values


def publish(catalog: Catalog, events: Sequence[dict[str, Any]]) -> None:
    bronze = catalog.load_table(BRONZE.identifier)
    place = {"kafka_partition": NO_PARTITION, "kafka_time": datetime(2004, 12, 31, tzinfo=UTC)}
    rows = [row | place | {"kafka_offset": n, "event_id": f"bad-{n}"} for n, row in enumerate(events)]
    bronze.append(pa.Table.from_pylist(rows, schema=bronze.schema().as_arrow()))


def rows(catalog: Catalog, declared: Table) -> list[dict[str, Any]]:
    scan = catalog.load_table(declared.identifier).scan(time_filter(declared.event_time, FIRST, END))
    found: list[dict[str, Any]] = scan.to_arrow().to_pylist()
    return sorted(found, key=lambda row: (row["window_start"], str(row["zone"])))


def failure(result: dg.ExecuteInProcessResult) -> str:
    [failed] = result.get_step_failure_events()
    assert failed.step_failure_data.user_failure_data is not None
    return str(failed.step_failure_data.user_failure_data.description)


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize("day", [date(2004, 3, 28), date(2004, 10, 31)])
def test_a_day_on_which_clocks_change_has_twenty_four_hours(
    settings: Settings, catalog: Catalog, day: date
) -> None:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    # two each hour, from an hour before the day to an hour after it
    publish(catalog, [event(start + number * HOUR / 2) for number in range(-2, 50)])
    for declared in (HOURLY, DAILY):
        assert materialize(settings, window_asset(declared, BRONZE), day, day).success
    assert [(row["window_start"], row["event_count"]) for row in rows(catalog, HOURLY)] == [
        (start + hour * HOUR, 2) for hour in range(24)
    ]
    [whole] = rows(catalog, DAILY)
    assert (whole["window_start"], whole["window_end"], whole["event_count"]) == (start, start + DAY, 48)


def test_a_day_without_a_valid_event_is_empty_and_one_of_bad_rows_alone_is_not_published(
    settings: Settings, catalog: Catalog
) -> None:
    good, silent, bad = FIRST, FIRST + DAY, FIRST + 2 * DAY
    publish(
        catalog,
        [
            event(good),
            # a sensor that is broken among others
            event(good, "broken", temperature_c=70.0),
            # kelvin instead of degrees Celsius, on every sensor
            *(event(bad + n * HOUR, f"s{n}", temperature_c=290.0 + n) for n in range(5)),
        ],
    )
    asset = window_asset(HOURLY, BRONZE)
    assert materialize(settings, asset, good.date(), silent.date()).success
    published = rows(catalog, HOURLY)
    assert {row["window_start"] for row in published} == {good}
    assert {row["temperature_c_max"] for row in published} == {10.0, 70.0}

    result = materialize(settings, asset, bad.date(), bad.date(), raise_on_error=False)
    said = failure(result)
    assert said.startswith("gold.weather_hourly is not published: no row of 2004-03-03 is within the valid ranges")
    [check] = [check for check in result.get_asset_check_evaluations() if check.check_name == "contract"]
    assert not check.passed
    assert not result.get_asset_materialization_events()
    assert rows(catalog, HOURLY) == published
    table = catalog.load_table(HOURLY.identifier)
    [branch] = [
        name for name in table.metadata.refs if f"./lakehouse publish gold.weather_hourly --branch {name}" in said
    ]
    assert table.scan(snapshot_id=table.metadata.refs[branch].snapshot_id).to_arrow().num_rows >= 7
    table.manage_snapshots().remove_branch(branch).commit()


def test_the_city_waits_for_its_hourly_tables_and_counts_a_sensor_where_it_stands(
    settings: Settings, catalog: Catalog
) -> None:
    start = FIRST + 10 * DAY
    publish(
        catalog,
        [
            event(start, "stays"),
            event(start, "mover", "north"),
            event(start + 59 * HOUR / 60, "mover", "south"),
            event(start + HOUR, "mover", "south"),
            event(start + 2 * HOUR, "mover", "north"),
            event(start + 2 * HOUR, "stray", "atlantis"),
            event(start + 2 * HOUR, "homeless", None),
        ],
    )
    city, day = gold_asset(city_recipe(CITY)), start.date()
    result = materialize(settings, city, day, day, raise_on_error=False)
    assert not result.success
    assert "./lakehouse backfill gold/weather_hourly --from 2004-03-11 --to 2004-03-11" in failure(result)
    assert rows(catalog, CITY) == []

    assert materialize(settings, window_asset(HOURLY, BRONZE), day, day).success
    assert materialize(settings, city, day, day).success
    found = [
        (row["window_start"], row["zone"], row["weather_sensor_count"], row["weather_event_count"])
        for row in rows(catalog, CITY)
    ]
    assert found == [
        (start, "centre", 1, 1),
        (start, "south", 1, 2),  # both events of the hour, where the last says that it stands
        (start + HOUR, "south", 1, 1),
        (start + 2 * HOUR, None, 1, 1),
        (start + 2 * HOUR, "atlantis", 1, 1),
        (start + 2 * HOUR, "north", 1, 1),
    ]
