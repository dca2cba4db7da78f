"""The tables of the whole city on Spark: what is joined, how a sensor did, which hours are unlike others."""

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from in_process import materialize
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import And, GreaterThanOrEqual, LessThan
from pyspark.sql import SparkSession
from pytest import approx

from contracts import (
    Table,
    anomalies,
    bronze_events,
    city_hourly,
    families,
    family,
    gold_hourly,
    sensor_health,
)
from lakehouse_assets.gold.anomaly_query import anomaly_query
from lakehouse_assets.gold.assets import gold_asset
from lakehouse_assets.gold.city_query import city_recipe
from lakehouse_assets.gold.health_query import family_query
from resources.catalog import ensure_tables, open_catalog
from settings import Settings

TRAFFIC, ENERGY = family("traffic"), family("energy")
HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(days=7)
TYPES = {"string": "string", "double": "double", "timestamp": "timestamp", "int": "int", "long": "bigint"}


@pytest.fixture
def catalog(settings: Settings) -> Catalog:
    catalog = open_catalog(settings)
    tables = [city_hourly(families()), *map(gold_hourly, families())]
    ensure_tables(catalog, tables, commit_retries=settings.commit_retries)
    return catalog


def view(session: SparkSession, name: str, declared: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of a table, null where they say nothing, under a name that SQL knows."""
    empty = {column.name: None for column in declared.columns}
    schema = ", ".join(f"{column.name} {TYPES[column.type]}" for column in declared.columns)
    values = [tuple((empty | dict(row)).values()) for row in rows]
    session.createDataFrame(values, schema).createOrReplaceTempView(name)


def hourly_rows(declared: Table, start: datetime, rng: random.Random, sensors: int) -> list[dict[str, Any]]:
    """Rows for a few sensors and hours; one zone is null and one value in five is missing."""
    rows = []
    for sensor in range(sensors):
        for hour in rng.sample(range(24), 6):
            row: dict[str, Any] = {
                "sensor_id": f"{declared.family}-{sensor}",
                "window_start": start + hour * HOUR,
                "window_end": start + (hour + 1) * HOUR,
                "zone": rng.choice(["centre", "an-unknown-zone", None]),
                "event_count": rng.randint(1, 400),
            }
            for measure in family(declared.family).measures:
                missing = rng.random() < 0.2
                row[f"{measure.name}_count"] = 0 if missing else rng.randint(1, row["event_count"])
                drawn = sorted(rng.uniform(measure.minimum or 0, measure.maximum or 1) for _ in range(4))
                for name, between in zip(("min", "mean", "last", "max"), drawn, strict=True):
                    value = None if missing else between
                    whole = measure.type == "long" and name != "mean" and value is not None
                    row[f"{measure.name}_{name}"] = int(value or 0) if whole else value
            if declared.family == ENERGY.name:
                row["energy_kwh_increase"] = rng.uniform(0, 5)
            rows.append(row)
    return rows


def test_the_city_by_zone_and_hour_equals_what_duckdb_joins(settings: Settings, catalog: Catalog) -> None:
    start = datetime(2003, 5, 1, tzinfo=UTC)
    rng = random.Random(7)
    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")
    for member in families():
        if member.name == "weather":
            continue  # a family without a row that day
        declared = gold_hourly(member)
        rows = hourly_rows(declared, start, rng, sensors=7)
        table = catalog.load_table(declared.identifier)
        arrow = pa.Table.from_pylist(rows, table.schema().as_arrow())
        table.append(arrow)
        database.register(declared.name, arrow)
    declared = city_hourly(families())
    assert materialize(settings, gold_asset(city_recipe(declared)), start.date(), start.date()).success

    day = And(GreaterThanOrEqual("window_start", start), LessThan("window_start", start + DAY))
    found = catalog.load_table(declared.identifier).scan(day).to_arrow().to_pylist()
    expected = database.execute(
        """
        SELECT zone, window_start,
          count(t.sensor_id) AS traffic_sensor_count,
          sum(t.event_count) AS traffic_event_count,
          min(t.avg_speed_kmh_min) AS traffic_avg_speed_kmh_min,
          max(t.vehicle_count_max) AS traffic_vehicle_count_max,
          sum(t.avg_speed_kmh_mean * t.avg_speed_kmh_count)
            / sum(t.avg_speed_kmh_count) FILTER (t.avg_speed_kmh_count > 0) AS traffic_avg_speed_kmh_mean,
          count(e.sensor_id) AS energy_sensor_count,
          sum(e.event_count) AS energy_event_count,
          sum(e.energy_kwh_increase) AS energy_energy_kwh_increase,
          max(e.voltage_v_max) AS energy_voltage_v_max,
        FROM traffic_hourly t FULL JOIN energy_hourly e USING (sensor_id, zone, window_start)
        GROUP BY ALL
        """
    ).to_arrow_table().to_pylist()  # fmt: skip
    place = lambda row: (str(row["zone"]), row["window_start"])  # noqa: E731
    assert sorted(map(place, found)) == sorted(map(place, expected))
    assert {row["zone"] for row in found} == {"centre", "an-unknown-zone", None}
    by_place = {place(row): row for row in found}
    for row in expected:
        ours = by_place[place(row)]
        assert ours["weather_sensor_count"] == 0
        assert ours["weather_event_count"] is None
        for name, value in row.items():
            assert ours[name] == (approx(value, rel=1e-12) if isinstance(value, float) else value), name


def event(number: int, sensor: str, at: datetime, **others: Any) -> dict[str, Any]:
    return {
        "event_id": str(number),
        "sensor_id": sensor,
        "event_time": at,
        "zone": "centre",
        "kafka_partition": 0,
        "kafka_offset": number,
    } | others


def health(
    session: SparkSession,
    start: datetime,
    events: Sequence[Mapping[str, Any]],
    before: Sequence[Mapping[str, Any]],
) -> dict[tuple[str, date], dict[str, Any]]:
    view(session, "traffic_day", bronze_events(TRAFFIC), events)
    view(session, "traffic_before", gold_hourly(TRAFFIC), before)
    rows = session.sql(family_query(sensor_health(families()), TRAFFIC, start, start + 2 * DAY)).collect()
    return {(row["sensor_id"], row["window_start"].astimezone(UTC).date()): row.asDict() for row in rows}


def test_coverage_gaps_and_silence_of_a_sensor(session: SparkSession) -> None:
    start = datetime(2003, 6, 1, tzinfo=UTC)
    interval = TRAFFIC.reporting_interval
    regular = [start + 60 * interval + number * interval for number in range(100)]
    late = [regular[-1] + 2 * HOUR, regular[-1] + 2 * HOUR + timedelta(seconds=1)]
    events = [event(n, "s", at) for n, at in enumerate((*regular, *late))]
    events.append(event(0, "s", regular[0], kafka_offset=1_000))  # sent twice
    events.append(event(500, "mover", start, zone="north"))
    events.append(event(501, "mover", start + HOUR, zone="south"))
    events.append(event(502, "next-day", start + DAY))
    hour = start - 3 * DAY
    before = [
        {"sensor_id": "gone", "zone": "west", "window_start": hour, "window_end": hour + HOUR},
        {"sensor_id": "gone", "zone": "east", "window_start": hour - DAY, "window_end": hour - DAY + HOUR},
        {"sensor_id": "long-gone", "window_start": start - 8 * DAY, "window_end": start - 8 * DAY + HOUR},
        {"sensor_id": "s", "window_start": hour, "window_end": hour + HOUR},
    ]
    found = health(session, start, events, before)
    today, tomorrow = start.date(), (start + DAY).date()
    assert {sensor for sensor, day in found if day == today} == {"s", "mover", "gone"}
    assert {sensor for sensor, day in found if day == tomorrow} == {"next-day", "gone", "s"}

    row = found["s", today]
    slots = DAY / interval
    assert row["family"] == "traffic"
    assert row["event_count"] == 102
    # both of the late ones lie in one reporting interval
    assert row["coverage_ratio"] == approx(101 / slots)
    assert row["gap_count"] == 3  # before the first, before the late ones, after the last
    assert row["longest_gap_s"] == approx((start + DAY - late[-1]).total_seconds())
    assert row["last_seen"].astimezone(UTC) == late[-1]
    assert row["window_end"].astimezone(UTC) == start + DAY
    assert found["mover", today]["zone"] == "south"

    silent = found["gone", today]
    assert (silent["event_count"], silent["coverage_ratio"], silent["gap_count"]) == (0, 0, 1)
    assert silent["longest_gap_s"] == 86_400
    assert silent["zone"] == "west"
    assert silent["last_seen"].astimezone(UTC) == hour + HOUR


def test_a_value_that_does_not_change_and_one_that_is_unlike_its_neighbours(session: SparkSession) -> None:
    start = datetime(2003, 7, 1, tzinfo=UTC)
    # medians of 10, 11, 12, 13, 40 are 12, their deviations 2, 1, 0, 1, 28, whose median is 1
    speeds = {"a": 10.0, "b": 11.0, "c": 12.0, "d": 13.0, "far": 40.0}
    events = [
        event(
            100 * number + minute, sensor, start + timedelta(minutes=minute),
            avg_speed_kmh=speed + (0 if sensor == "far" else (0.5 if minute % 2 else -0.5)),
            vehicle_count=0, occupancy_ratio=0.0,
        )
        for number, (sensor, speed) in enumerate(speeds.items())
        for minute in range(60)
    ]  # fmt: skip
    found = {sensor: row for (sensor, _), row in health(session, start, events, []).items()}
    assert set(found) == set(speeds)
    assert (found["far"]["stuck_measure"], found["far"]["stuck_s"]) == ("avg_speed_kmh", 59 * 60)
    # that nothing drives at night is no sign of a sensor that is stuck
    assert all(found[sensor]["stuck_measure"] is None for sensor in "abcd")
    assert found["far"]["drift_measure"] == "avg_speed_kmh"
    assert found["far"]["drift_score"] == approx(0.6745 * 28)
    assert found["a"]["drift_score"] == approx(0.6745 * -2)


def test_an_hour_is_held_against_the_same_hour_of_the_weeks_before(session: SparkSession) -> None:
    start = datetime(2003, 8, 4, tzinfo=UTC)

    def hour(sensor: str, at: datetime, speed: float | None) -> dict[str, Any]:
        return {"sensor_id": sensor, "window_start": at, "window_end": at + HOUR, "avg_speed_kmh_mean": speed}

    # of the weeks before: median 50, deviations 0, 1, 1, 2, whose median is 1
    usual = [49.0, 50.0, 52.0, 49.0, 50.0, 51.0]
    rows = [hour("s", start - (week + 1) * WEEK, speed) for week, speed in enumerate(usual)]
    rows += [
        hour("s", start, 57.0),
        hour("s", start - 9 * WEEK, 500.0),  # too long ago
        hour("s", start - DAY, 500.0),  # another day of the week
        hour("s", start + HOUR, 500.0),  # nothing to hold it against
        hour("s", start - 2 * HOUR, None),
        *(hour("new", start - week * WEEK, 50.0 + week) for week in (1, 2, 3)),
        hour("new", start, 500.0),  # too few weeks
        *(hour("constant", start - week * WEEK, 50.0) for week in (1, 2, 3, 4)),
        hour("constant", start, 500.0),  # no deviation to measure it by
        *(hour("usual", start - week * WEEK, 50.0 + week) for week in (1, 2, 3, 4)),
        hour("usual", start, 54.0),
    ]
    for member in families():
        view(session, f"{member.name}_hours", gold_hourly(member), rows if member is TRAFFIC else [])
    found = session.sql(anomaly_query(anomalies(families()), start, start + DAY)).collect()
    [row] = [row.asDict() for row in found]
    assert (row["family"], row["sensor_id"], row["measure"]) == ("traffic", "s", "avg_speed_kmh")
    assert row["window_start"].astimezone(UTC) == start
    assert (row["value"], row["unit"]) == (57.0, "km/h")
    assert (row["baseline_median"], row["baseline_mad"], row["baseline_hours"]) == (50.0, 1.0, 6)
    assert row["score"] == approx(0.6745 * 7)


def test_days_without_an_event_have_no_row(session: SparkSession) -> None:
    assert health(session, datetime(2003, 9, 1, tzinfo=UTC), [], []) == {}
