"""The large table of the API's benchmark, its queries, what DuckDB finds in it, and the soak's arithmetic."""

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from benchmarks.files_in_duckdb import FilesInDuckDb
from benchmarks.large_table import (
    FILES_A_DAY,
    LargeTableError,
    Layout,
    check_room,
    drop_large_table,
    ensure_large_table,
    file_rows,
    point_queries,
)
from benchmarks.soak import medians, slope_per_hour
from benchmarks.stand_in import SHOWN_AS, STAND_IN
from contracts import served_tables
from resources.iceberg_schema import iceberg_schema

LAYOUT = Layout(wanted=12 * 1000, files=12)


@pytest.fixture
def catalog(tmp_path: Path) -> SqlCatalog:
    return SqlCatalog(
        "lakehouse", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse"
    )


def test_the_stand_in_is_no_table_of_the_contracts() -> None:
    assert SHOWN_AS in served_tables()
    assert STAND_IN.identifier not in {table.identifier for table in served_tables()}


@pytest.mark.parametrize(
    ("wanted", "files", "rows"), [(100_000_000, 500, 100_000_000), (12_000, 12, 12_000), (5, 5, 5), (1, 2, 2)]
)
def test_files_have_equally_many_rows(wanted: int, files: int, rows: int) -> None:
    layout = Layout(wanted, files)
    assert layout.rows == rows
    assert layout.sensors_a_file * layout.readings * files == rows


def test_files_are_sorted_and_each_is_of_one_day_and_its_own_sensors() -> None:
    files = [file_rows(LAYOUT, file) for file in range(LAYOUT.files)]
    rows = pa.concat_tables(files)
    assert len(rows) == LAYOUT.rows
    assert rows.schema.names == [column.name for column in STAND_IN.columns]
    for name in ("event_id", "kafka_offset"):
        assert pc.count_distinct(rows[name]).as_py() == len(rows)
    seen: dict[object, set[str]] = {}
    for file in files:
        assert file.equals(file.sort_by([("sensor_id", "ascending"), ("event_time", "ascending")]))
        (day,) = set(pc.strftime(file["event_time"], "%Y-%m-%d").to_pylist())
        sensors = set(file["sensor_id"].to_pylist())
        assert not sensors & seen.setdefault(day, set())
        seen[day] |= sensors
    assert len(seen) == LAYOUT.days == 2
    assert len(files[:FILES_A_DAY]) == 10


def test_point_queries_are_distinct_hours_of_sensors_that_have_readings() -> None:
    layout = Layout(wanted=10 * 4000, files=10)
    rows = pa.concat_tables([file_rows(layout, file) for file in range(layout.files)])
    queries = list(point_queries(layout, 200))
    assert len(set(queries)) == 200
    assert queries == list(point_queries(layout, 200))
    for sensor, start, end in queries:
        assert end - start == timedelta(hours=1)
        found = rows.filter(
            (pc.field("sensor_id") == sensor) & (pc.field("event_time") >= start) & (pc.field("event_time") < end)
        )
        assert len(found) > 0


def test_the_table_is_written_once_and_removed_with_its_files(catalog: SqlCatalog, tmp_path: Path) -> None:
    done: list[int] = []
    table = ensure_large_table(catalog, LAYOUT, 10, done.append)
    assert done == list(range(1, 13))
    files = list(table.scan().plan_files())
    assert [file.file.record_count for file in files] == [1000] * 12

    again = ensure_large_table(catalog, LAYOUT, 10, done.append)
    assert again.current_snapshot() == table.current_snapshot()
    other = ensure_large_table(catalog, Layout(2000, 2), 10, done.append)
    assert other.scan().count() == 2000

    drop_large_table(catalog)
    assert not catalog.table_exists(STAND_IN.identifier)
    assert not list((tmp_path / "warehouse").rglob("*.parquet"))


def test_half_a_table_is_made_anew(catalog: SqlCatalog) -> None:
    table = ensure_large_table(catalog, LAYOUT, 10, lambda _: None)
    with table.transaction() as transaction:
        transaction.remove_properties("bench.rows")
    assert ensure_large_table(catalog, LAYOUT, 10, lambda _: None).scan().count() == LAYOUT.rows


def test_duckdb_finds_the_rows_and_leaves_no_copies(catalog: SqlCatalog, tmp_path: Path) -> None:
    layout = Layout(wanted=10 * 4000, files=10)
    table = ensure_large_table(catalog, layout, 10, lambda _: None)
    rows = pa.concat_tables([file_rows(layout, file) for file in range(layout.files)]).to_pylist()
    queries = list(point_queries(layout, 5))
    with FilesInDuckDb(table, tmp_path) as duckdb:
        found, whole, planned = duckdb.point(queries)
        assert duckdb.first_batch_ms() > 0
    for query, answer in zip(queries, found, strict=True):
        sensor, start, end = query
        expected = [row for row in rows if row["sensor_id"] == sensor and start <= row["event_time"] < end]
        assert answer == expected
    assert (whole.queries, planned.queries) == (5, 5)
    assert not (tmp_path / "files").exists()


def test_a_table_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    check_room(tmp_path, LAYOUT)
    with pytest.raises(LargeTableError, match="fewer --rows"):
        check_room(tmp_path, Layout(10**14, 500))


def test_the_slope_is_that_of_the_second_half() -> None:
    filling = [(second, 100.0 + second) for second in range(50)]
    flat = [(second, 150.0) for second in range(50, 100)]
    assert slope_per_hour([*filling, *flat]) == pytest.approx(0, abs=1e-6)
    growing = [(second, 200.0 + 0.5 * second) for second in range(100)]
    assert slope_per_hour(growing) == pytest.approx(1800)
    assert slope_per_hour([(0.0, 1.0)]) == 0


def test_start_middle_and_end_are_medians_of_a_tenth_each() -> None:
    looks = [(float(second), float(second)) for second in range(100)]
    looks[3] = (3.0, 9999.0)
    assert medians(looks) == (5.5, 49.5, 94.5)
    assert medians([(0.0, 7.0)]) == (7.0, 7.0, 7.0)


def test_the_schema_is_that_of_the_contract() -> None:
    assert iceberg_schema(STAND_IN) == iceberg_schema(SHOWN_AS)


def test_an_interruption_leaves_no_copies(
    catalog: SqlCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = ensure_large_table(catalog, LAYOUT, 10, lambda _: None)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("benchmarks.files_in_duckdb.shutil.copyfileobj", interrupted)
        with pytest.raises(KeyboardInterrupt), FilesInDuckDb(table, tmp_path):
            pass
    assert not (tmp_path / "files").exists()
    (tmp_path / "files").mkdir()
    with FilesInDuckDb(table, tmp_path) as duckdb:
        assert duckdb.first_batch_ms() > 0
