"""Files of a snapshot as PyIceberg plans them itself, reading every manifest again."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression
from pyiceberg.manifest import ManifestFile
from pyiceberg.table import FileScanTask
from pyiceberg.table import Table as IcebergTable

from api.caching.file_lists import FileLists, _size
from api.caching.metrics import CacheMetrics
from api.rows.filters import Operator, compare, parse_filter
from contracts import table as contract
from resources.catalog import ensure_tables
from settings import Settings

TABLE = contract("gold.traffic_hourly")
START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def table(tmp_path: Path, settings: Settings) -> IcebergTable:
    catalog = SqlCatalog("lakehouse", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}")
    ensure_tables(catalog, [TABLE], commit_retries=settings.commit_retries)
    return catalog.load_table(TABLE.identifier)


@pytest.fixture(scope="module")
def long_table(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> IcebergTable:
    """Appends, an overwritten day and deleted rows: manifests of all sorts."""
    folder = tmp_path_factory.mktemp("long")
    catalog = SqlCatalog("lakehouse", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    ensure_tables(catalog, [TABLE], commit_retries=settings.commit_retries)
    table = catalog.load_table(TABLE.identifier)
    for number in range(8):
        append(table, number)
    table.overwrite(rows(table, 3), overwrite_filter=And(*(compare("window_start", *bound) for bound in day(1))))
    table.delete(compare("sensor_id", Operator.EQ, "traffic-2"))
    return table


def day(number: int) -> list[tuple[Operator, datetime]]:
    start = START + timedelta(days=number)
    return [(Operator.GE, start), (Operator.LT, start + timedelta(days=1))]


def rows(table: IcebergTable, number: int) -> pa.Table:
    empty: dict[str, Any] = {column.name: None if column.nullable else 1 for column in TABLE.columns}
    found = []
    for sensor in range(number % 3 + 1):
        start = START + timedelta(hours=7 * number + sensor)
        found.append(
            empty
            | {
                "sensor_id": f"traffic-{sensor}",
                "zone": "centre" if number % 2 else None,
                "window_start": start,
                "window_end": start + HOUR,
                "event_count": number,
            }
        )
    return pa.Table.from_pylist(found, schema=table.schema().as_arrow())


def append(table: IcebergTable, number: int) -> None:
    table.append(rows(table, number))


def file_lists(budget: int = 64 << 20) -> FileLists:
    return FileLists(budget, CacheMetrics(CollectorRegistry()).of("file_lists"))


def described(tasks: Any) -> set[tuple[str, int, str, int]]:
    return {
        (task.file.file_path, task.file.record_count, repr(task.residual), len(task.delete_files))
        for task in tasks
    }


def planned(table: IcebergTable, row_filter: BooleanExpression, snapshot_id: int) -> list[FileScanTask]:
    return list(table.scan(row_filter=row_filter, snapshot_id=snapshot_id).plan_files())


@pytest.fixture
def manifests_read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    read: list[str] = []
    fetch: Callable[..., Any] = ManifestFile.fetch_manifest_entry

    def recording(self: ManifestFile, *arguments: Any, **others: Any) -> Any:
        read.append(self.manifest_path)
        return fetch(self, *arguments, **others)

    monkeypatch.setattr(ManifestFile, "fetch_manifest_entry", recording)
    return read


filters = st.lists(
    st.builds(
        lambda operator, hours: parse_filter(
            TABLE.column("window_start"), operator, (START + hours * HOUR).isoformat()
        ),
        st.sampled_from([Operator.EQ, Operator.LT, Operator.GE, Operator.NE]),
        st.integers(-1, 60),
    )
    | st.builds(
        lambda text: parse_filter(TABLE.column("sensor_id"), Operator.IN, text),
        st.sampled_from(["traffic-0", "traffic-1,traffic-2", "nobody"]),
    )
    | st.builds(
        lambda null: parse_filter(TABLE.column("zone"), Operator.IS_NULL, null), st.sampled_from(["true", "false"])
    )
    | st.builds(lambda count: compare("event_count", Operator.GT, count), st.integers(-1, 8)),
    max_size=3,
)


@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=filters, choose=st.randoms(use_true_random=False), budget=st.sampled_from([0, 20_000, 64 << 20]))
def test_the_files_are_those_of_a_plan_that_reads_everything_again(
    long_table: IcebergTable, wanted: list[BooleanExpression], choose: Any, budget: int
) -> None:
    lists = file_lists(budget)
    row_filter: BooleanExpression = AlwaysTrue()
    for each in wanted:
        row_filter = And(row_filter, each)
    for _ in range(2):
        snapshot = choose.choice(long_table.snapshots())
        found = lists.files(long_table, snapshot, row_filter)
        assert described(found) == described(planned(long_table, row_filter, snapshot.snapshot_id))


def test_a_new_snapshot_costs_its_new_manifests(table: IcebergTable, manifests_read: list[str]) -> None:
    lists = file_lists()
    for number in range(5):
        append(table, number)
    snapshot = table.current_snapshot()
    assert snapshot is not None
    assert len(lists.files(table, snapshot, AlwaysTrue())) == len(planned_paths(table))
    assert len(set(manifests_read)) == 5
    manifests_read.clear()
    lists.files(table, snapshot, compare("event_count", Operator.GT, 2))
    assert manifests_read == []
    append(table, 9)
    newer = table.current_snapshot()
    assert newer is not None
    assert len(lists.files(table, newer, AlwaysTrue())) > len(lists.files(table, snapshot, AlwaysTrue()))
    assert len(manifests_read) == 1


def planned_paths(table: IcebergTable) -> set[str]:
    files = table.inspect.files()
    return set(files["file_path"].to_pylist())


def test_the_size_is_a_little_more_than_what_memory_takes(table: IcebergTable) -> None:
    with table.transaction() as transaction:
        for number in range(30):
            transaction.append(rows(table, number))
    snapshot = table.current_snapshot()
    assert snapshot is not None
    manifests = snapshot.manifests(table.io)
    # once before: what is imported and compiled for it is not counted
    manifests[0].fetch_manifest_entry(table.io)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = [tuple(manifest.fetch_manifest_entry(table.io)) for manifest in manifests]
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken <= sum(map(_size, kept)) <= 2.5 * taken
