"""What the backfill benchmark is fed with, and DuckDB's side of it against numbers worked out by hand."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from benchmarks.bronze_rows import Range, bronze_chunks
from benchmarks.gold_in_duckdb import differing_rows, gold_query, naive_events, open_database
from contracts import Family, bronze_events, families, family, gold_hourly
from resources.iceberg_schema import iceberg_schema

SPAN = Range(date(2026, 1, 1), days=2, events_per_day=20_000)
GOLD = gold_hourly(family("energy"))
DAY = datetime(2026, 1, 1)


@pytest.mark.parametrize("member", families(), ids=lambda member: member.name)
def test_bronze_has_copies_late_events_and_only_what_the_contract_allows(member: Family) -> None:
    rows = pa.concat_tables(bronze_chunks(member, SPAN))
    assert rows.equals(pa.concat_tables(bronze_chunks(member, SPAN)))

    times = rows["event_time"].combine_chunks()
    assert pc.min(times).as_py() >= SPAN.start
    assert pc.max(times).as_py() < SPAN.end
    copies = len(rows) - pc.count_distinct(rows["event_id"]).as_py()
    assert 0.01 * len(rows) < copies < 0.03 * len(rows)
    delays = pc.microseconds_between(times, rows["kafka_time"].combine_chunks())
    assert pc.sum(pc.greater(delays, 600_000_000)).as_py() > 0
    assert not times.equals(times.take(pc.sort_indices(times)))

    for partition in range(member.topic_partitions):
        offsets = rows.filter(pc.equal(rows["kafka_partition"], partition))["kafka_offset"].to_pylist()
        assert offsets == list(range(len(offsets)))
    for column in bronze_events(member).columns:
        values = pc.min_max(rows[column.name]).as_py() if column.minimum is not None else None
        if values is not None:
            assert column.minimum <= values["min"] <= values["max"] <= column.maximum if column.maximum else True


def test_some_counters_begin_anew() -> None:
    rows = pa.concat_tables(bronze_chunks(family("energy"), SPAN)).sort_by("event_time")
    meter = rows.filter(pc.equal(rows["sensor_id"], "energy-00000"))["energy_kwh"].drop_null().to_pylist()
    assert any(after < before for before, after in pairwise(meter))
    steady = rows.filter(pc.equal(rows["sensor_id"], "energy-00001"))["energy_kwh"].drop_null().to_pylist()
    assert steady == sorted(steady)


def event(number: int, minutes: float, counter: float | None, **others: Any) -> dict[str, Any]:
    empty = {column.name: None for column in bronze_events(family("energy")).columns}
    return (
        empty
        | {
            "event_id": str(number),
            "sensor_id": "meter",
            "event_time": (DAY + timedelta(minutes=minutes)).replace(tzinfo=UTC),
            "energy_kwh": counter,
            "kafka_partition": 1,
            "kafka_offset": number,
            "kafka_time": DAY.replace(tzinfo=UTC),
        }
        | others
    )


@pytest.fixture
def database(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_database(tmp_path / "spill", threads=1) as opened:
        yield opened


@pytest.fixture
def query(tmp_path: Path) -> str:
    events = [
        event(0, 0, 100.0, zone="north"),
        event(1, 30, 104.0, zone="south"),
        event(1, 30, 999.0, kafka_offset=9, zone="copy"),
        event(1, 30, 998.0, kafka_partition=2, kafka_offset=0, zone="copy"),
        event(2, 59, None),
        event(3, 70, 110.0),  # since 104, whose hour is over
        event(4, 80, 3.0),  # began anew
        event(5, 75, 112.0, kafka_offset=10),  # came late, but was before
        event(6, 24 * 60, 50.0),  # of another day
    ]
    schema = iceberg_schema(bronze_events(family("energy"))).as_arrow()
    file = tmp_path / "events.parquet"
    pq.write_table(pa.Table.from_pylist(events, schema=schema), file)
    return gold_query(
        GOLD, naive_events([file], DAY.replace(tzinfo=UTC), DAY.replace(tzinfo=UTC) + timedelta(days=1))
    )


def test_duckdb_counts_an_event_once_and_lets_counters_begin_anew(
    database: duckdb.DuckDBPyConnection, query: str
) -> None:
    names = (
        "window_start, window_end, zone, event_count, energy_kwh_count, energy_kwh_min, energy_kwh_max, "
        "energy_kwh_mean, energy_kwh_last, energy_kwh_increase"
    )
    hour = timedelta(hours=1)
    assert database.execute(f"SELECT {names} FROM ({query}) ORDER BY window_start").fetchall() == [
        (DAY, DAY + hour, "south", 3, 2, 100.0, 104.0, 102.0, 104.0, 4.0),
        (DAY + hour, DAY + 2 * hour, None, 3, 3, 3.0, 112.0, 75.0, 3.0, 6.0 + 2.0 + 3.0),
    ]


@pytest.mark.parametrize(
    "change",
    [
        "energy_kwh_mean + 1e-6",
        "energy_kwh_increase + 1e-6",
        "energy_kwh_last + 1e-12",
        "event_count + 1",
        "window_end + INTERVAL 1 SECOND",
    ],
)
def test_any_other_value_is_a_difference(database: duckdb.DuckDBPyConnection, query: str, change: str) -> None:
    same = database.sql(query).to_arrow_table()
    assert differing_rows(database, GOLD, query, same) == []
    column = change.partition(" ")[0]
    # an increment of 1e-12 is lost beside 104, but not beside 3
    changed = database.sql(f"SELECT * REPLACE ({change} AS {column}) FROM ({query})").to_arrow_table()
    assert "meter at 2026-01-01 01:00:00" in differing_rows(database, GOLD, query, changed)


def test_a_row_too_few_or_too_many_is_a_difference(database: duckdb.DuckDBPyConnection, query: str) -> None:
    rows = database.sql(f"{query} ORDER BY window_start").to_arrow_table()
    assert differing_rows(database, GOLD, query, rows.slice(1)) == ["meter at 2026-01-01 00:00:00"]
    fewer = f"FROM ({query}) WHERE window_start > TIMESTAMP '{DAY}'"
    assert differing_rows(database, GOLD, fewer, rows) == ["meter at 2026-01-01 00:00:00"]
