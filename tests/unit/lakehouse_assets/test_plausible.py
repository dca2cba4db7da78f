"""A day on which every row is out of range is found, one with a single good row is not."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from iceberg_on_disk import plausible_row

from contracts import Table, all_tables, family, gold_daily, gold_hourly
from lakehouse_assets.gold.plausible import days_of_bad_rows
from resources.iceberg_schema import iceberg_schema

HOURLY = gold_hourly(family("weather"))
FIRST = datetime(2024, 3, 30, tzinfo=UTC)
GOOD = {"humidity_pct_min": 40.0, "humidity_pct_max": 60.0}
TOO_HIGH = {"humidity_pct_min": 101.0, "humidity_pct_max": 140.0}
TOO_LOW = {"temperature_c_min": -300.0, "temperature_c_max": -274.0}
SOME_TOO_HIGH = {"humidity_pct_min": 40.0, "humidity_pct_max": 140.0}
NOTHING = {name: None for column in HOURLY.columns if (name := column.name).endswith(("_min", "_max"))}


def found(*rows: tuple[int, dict[str, Any]], declared: Table = HOURLY) -> list[int]:
    """Bad days, counted from the first."""
    values = [
        plausible_row(declared, number) | {declared.event_time: FIRST + timedelta(days=day, minutes=number)} | row
        for number, (day, row) in enumerate(rows)
    ]
    table = pa.Table.from_pylist(values, iceberg_schema(declared).as_arrow())
    return [(day - FIRST.date()).days for day in days_of_bad_rows(declared, table)]


@pytest.mark.parametrize("bad", [TOO_HIGH, TOO_LOW])
def test_a_day_is_bad_if_every_row_is(bad: dict[str, Any]) -> None:
    assert found((0, bad), (0, TOO_HIGH), (1, bad), (1, GOOD), (2, GOOD), (3, bad)) == [0, 3]


def test_one_value_within_the_range_makes_a_row_good() -> None:
    assert found((0, SOME_TOO_HIGH)) == []
    limits = {"humidity_pct_min": 100.0, "humidity_pct_max": 100.0}
    assert found((0, limits), (1, {"humidity_pct_min": 0.0, "humidity_pct_max": 0.0})) == []


def test_rows_without_a_value_say_nothing() -> None:
    assert found((0, NOTHING), (1, NOTHING), (1, TOO_HIGH)) == [1]
    assert found() == []


def test_days_are_those_of_utc() -> None:
    last = {HOURLY.event_time: datetime(2024, 3, 31, 23, 59, tzinfo=UTC)}  # clocks in Europe changed that day
    assert found((0, TOO_HIGH | last), (2, GOOD)) == [1]


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["good", "bad", "none"])), max_size=12))
def test_a_bad_day_has_bad_rows_and_no_good_one(rows: list[tuple[int, str]]) -> None:
    kinds = {"good": GOOD, "bad": TOO_HIGH, "none": NOTHING}
    expected = {day for day, kind in rows if kind == "bad"} - {day for day, kind in rows if kind == "good"}
    assert found(*((day, kinds[kind]) for day, kind in rows)) == sorted(expected)


def test_only_tables_of_windows_are_judged() -> None:
    judged = {
        declared.identifier
        for declared in all_tables()
        if declared.layer == "gold"
        and found((0, {c.name: c.maximum + 1 for c in declared.columns if c.maximum}), declared=declared)
    }
    weather = family("weather")
    assert judged >= {gold_hourly(weather).identifier, gold_daily(weather).identifier}
    assert not {"gold.city_hourly", "gold.sensor_health", "gold.anomalies"} & judged
