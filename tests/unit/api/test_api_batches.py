"""Rows of small files that are kept, against PyIceberg's own reading of the same files each time."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression, EqualTo
from pyiceberg.io.pyarrow import ArrowScan, schema_to_pyarrow
from pyiceberg.table import FileScanTask
from pyiceberg.table import Table as IcebergTable

from api.caching import batches
from api.caching.batches import Batches
from api.caching.metrics import CacheMetrics
from api.rows.filters import Operator, parse_filter
from contracts import table as contract
from tests.unit.api.conftest import TABLE
from tests.unit.api.test_api_file_lists import TABLE as HOURLY
from tests.unit.api.test_api_file_lists import append, long_table, table

__all__ = ["long_table", "table"]

EVENTS = contract(TABLE)
COLUMNS = [column.name for column in EVENTS.columns]

filters = st.lists(
    st.sampled_from(
        [
            ("zone", "eq", "centre"),
            ("zone", "ne", "centre"),
            ("zone", "is_null", "true"),
            ("zone", "like", "Über%"),
            ("latitude", "in", "0.0,52.5"),
            ("vehicle_count", "gt", "2"),
            ("vehicle_count", "is_null", "false"),
            ("avg_speed_kmh", "between", "0.1,31"),
            ("event_time", "ge", "2026-03-02T00:00:00Z"),
            ("event_time", "lt", "2026-03-02T10:00:00Z"),
            ("sensor_id", "eq", "traffic-0003"),
            ("sensor_id", "eq", "nobody"),
        ]
    ),
    max_size=3,
    unique=True,
)


def kept(budget: int = 64 << 20) -> Batches:
    return Batches(budget, CacheMetrics(CollectorRegistry()).of("batches"))


def counted(rows: pa.Table) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(row.values()) for row in rows.to_pylist())


def expression(wanted: list[tuple[str, str, str]]) -> BooleanExpression:
    row_filter: BooleanExpression = AlwaysTrue()
    for name, operator, text in wanted:
        row_filter = And(row_filter, parse_filter(EVENTS.column(name), Operator(operator), text))
    return row_filter


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Data files that PyIceberg read, each time."""
    paths: list[str] = []
    to_table = ArrowScan.to_table

    def recording(self: ArrowScan, tasks: Any) -> pa.Table:
        paths.extend(task.file.file_path for task in tasks)
        return to_table(self, tasks)

    monkeypatch.setattr(ArrowScan, "to_table", recording)
    return paths


@pytest.fixture(scope="module")
def events_table(catalog: SqlCatalog) -> IcebergTable:
    return catalog.load_table(TABLE)


@hypothesis_settings(max_examples=40, deadline=None)
@given(
    queries=st.lists(
        st.tuples(filters, st.lists(st.sampled_from(COLUMNS), min_size=1, unique=True)), min_size=1, max_size=3
    ),
    budget=st.sampled_from([0, 20_000, 64 << 20]),
    whole_bytes=st.sampled_from([0, 400, 1 << 20]),
)
def test_rows_are_those_of_files_that_are_read_each_time(
    events_table: IcebergTable,
    queries: list[tuple[list[tuple[str, str, str]], list[str]]],
    budget: int,
    whole_bytes: int,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "WHOLE_BYTES", whole_bytes)
        compare_with_plain_reads(events_table, queries, kept(budget))


def compare_with_plain_reads(
    events_table: IcebergTable,
    queries: list[tuple[list[tuple[str, str, str]], list[str]]],
    remembered: Batches,
) -> None:
    for wanted, columns in queries:
        row_filter = expression(wanted)
        tasks = list(events_table.scan(row_filter=row_filter).plan_files())
        projection = events_table.schema().select(*columns)
        plain = ArrowScan(events_table.metadata, events_table.io, projection, row_filter).to_table(tasks)
        found = remembered.scan(events_table, projection, row_filter).to_table(tasks)
        types = schema_to_pyarrow(projection, include_field_ids=False)
        assert found.cast(types).schema == types
        assert [field.nullable for field in found.schema] == [field.nullable for field in types]
        assert counted(found) == counted(plain)
        limited = remembered.scan(events_table, projection, row_filter, limit=5).to_table(tasks)
        assert limited.num_rows == min(5, plain.num_rows)
        assert counted(limited) <= counted(plain)


def tasks_of(loaded: IcebergTable) -> list[FileScanTask]:
    return list(loaded.scan().plan_files())


def test_a_column_of_a_file_is_read_once(events_table: IcebergTable, read: list[str]) -> None:
    remembered = kept()
    tasks = tasks_of(events_table)
    zones = events_table.schema().select("zone", "sensor_id")
    remembered.scan(events_table, zones, AlwaysTrue()).to_table(tasks[:3])
    assert sorted(read) == sorted(task.file.file_path for task in tasks[:3])
    read.clear()
    remembered.scan(events_table, zones, EqualTo("zone", "centre")).to_table(tasks[:3])
    remembered.scan(events_table, events_table.schema().select("zone"), AlwaysTrue()).to_table(tasks[:2])
    assert read == []
    remembered.scan(events_table, zones, EqualTo("kafka_partition", 1)).to_table(tasks[1:5])
    assert sorted(read) == sorted(task.file.file_path for task in tasks[1:5])


@pytest.mark.parametrize(("limit", "most"), [("WHOLE_BYTES", 50), ("WHOLE_VALUES", 1)])
def test_what_is_large_in_its_file_or_in_memory_is_not_kept(
    events_table: IcebergTable, read: list[str], monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    monkeypatch.setattr(batches, limit, most)
    remembered = kept()
    tasks = tasks_of(events_table)[:3]
    assert all(task.file.record_count > 1 for task in tasks)
    projection = events_table.schema().select("event_id", "event_time")
    for _ in range(2):
        remembered.scan(events_table, projection, AlwaysTrue()).to_table(tasks)
    assert sorted(read) == sorted(2 * [task.file.file_path for task in tasks])


def test_a_wrong_count_of_rows_does_not_mix_files_up(events_table: IcebergTable) -> None:
    tasks = tasks_of(events_table)[:3]
    projection = events_table.schema().select("event_id", "zone")
    expected = ArrowScan(events_table.metadata, events_table.io, projection, AlwaysTrue()).to_table(tasks)
    rows = tasks[0].file.record_count
    tasks[0].file._data[4] += 1  # it has no setter
    assert tasks[0].file.record_count == rows + 1
    remembered = kept()
    for _ in range(2):
        found = remembered.scan(events_table, projection, AlwaysTrue()).to_table(tasks)
        assert counted(found) == counted(expected)


def test_a_file_is_read_again_by_another_schema(table: IcebergTable) -> None:
    append(table, 2)
    remembered = kept()

    def sensors(name: str) -> list[Any]:
        projection = table.schema().select(name)
        found: pa.Table = remembered.scan(table, projection, AlwaysTrue()).to_table(tasks_of(table))
        return found[name].to_pylist()

    before = sensors("event_count")
    with table.update_schema() as update:
        update.rename_column("event_count", "events")
    with table.update_schema(allow_incompatible_changes=True) as update:
        update.add_column("event_count", table.schema().find_type("events"))
    assert sensors("events") == before
    assert sensors("event_count") == [None] * len(before)


def test_rows_that_were_deleted_are_gone(long_table: IcebergTable) -> None:
    remembered = kept()
    for snapshot in long_table.snapshots():
        tasks = list(long_table.scan(snapshot_id=snapshot.snapshot_id).plan_files())
        projection = long_table.schema().select("sensor_id", "window_start")
        plain = ArrowScan(long_table.metadata, long_table.io, projection, AlwaysTrue()).to_table(tasks)
        assert counted(remembered.scan(long_table, projection, AlwaysTrue()).to_table(tasks)) == counted(plain)
    assert HOURLY.identifier == ".".join(long_table.name())
