"""All rows at once, against DuckDB and against what a page of the same query says."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pyarrow import csv, parquet
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io.pyarrow import ArrowScan

from api.app import create_app
from api.rows import everything
from contracts import all_tables
from contracts import table as contract
from resources.catalog import ensure_tables
from settings import Settings
from tests.unit.api.conftest import KEY
from tests.unit.api.test_api_rows import COLUMNS, ROWS, TABLE, Condition, Oracle, conditions, distinct

STREAMED = ["arrow", "parquet", "csv", "ndjson"]
START = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def oracle(events: list[list[dict[str, Any]]]) -> Oracle:
    return Oracle([row for rows in events for row in rows])


@pytest.fixture(scope="module", params=[0, everything.WHOLE_BYTES], ids=["by-batch", "whole-files"])
def whole_bytes(request: pytest.FixtureRequest) -> Iterator[int]:
    """Whether each file counts as large, or none does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(everything, "WHOLE_BYTES", request.param)
        patch.setattr(everything, "BATCH_ROWS", 7)
        yield request.param


def arrow_rows(content: bytes) -> pa.Table:
    return pa.ipc.open_stream(content).read_all()


@hypothesis_settings(max_examples=40, deadline=None)
@given(
    wanted=st.lists(conditions(), max_size=3).map(distinct),
    columns=st.lists(st.sampled_from(COLUMNS), min_size=1, unique=True),
    format_=st.sampled_from(["arrow", "parquet"]),
)
@pytest.mark.usefixtures("whole_bytes")
def test_all_rows_are_those_that_duckdb_finds(
    client: TestClient, oracle: Oracle, wanted: list[Condition], columns: list[str], format_: str
) -> None:
    shown = list(dict.fromkeys([*columns, *TABLE.key]))
    filters = {condition.parameter: condition.value for condition in wanted}
    asked = {**filters, "columns": ",".join(shown), "limit": "all", "format": format_}
    answer = client.get(ROWS, params=asked)
    assert answer.status_code == 200, answer.text
    read = arrow_rows if format_ == "arrow" else lambda content: parquet.read_table(io.BytesIO(content))
    found = read(answer.content)
    assert found.column_names == shown
    assert found.sort_by([(name, "ascending") for name in TABLE.key]).to_pylist() == oracle.rows(wanted, (), shown)


@pytest.mark.parametrize("format_", STREAMED)
@pytest.mark.parametrize("zone", ["centre", "nowhere"])
@pytest.mark.usefixtures("whole_bytes")
def test_a_streamed_answer_has_the_rows_of_a_page(client: TestClient, format_: str, zone: str) -> None:
    asked = {"zone": zone, "format": format_, "columns": "event_id,event_time,zone,avg_speed_kmh"}
    streamed = client.get(ROWS, params={**asked, "limit": "all"})
    page = client.get(ROWS, params={**asked, "limit": 300})
    assert page.headers["Lakehouse-Has-More"] == streamed.headers["Lakehouse-Has-More"] == "false"
    for header in ("Content-Type", "Lakehouse-Snapshot-Id", "Cache-Control", "Vary"):
        assert streamed.headers[header] == page.headers[header]
    readers: dict[str, Any] = {
        "arrow": arrow_rows,
        "parquet": lambda content: parquet.read_table(io.BytesIO(content)),
        "csv": lambda content: csv.read_csv(io.BytesIO(content)),
        "ndjson": lambda content: pa.Table.from_pylist([json.loads(line) for line in content.splitlines()]),
    }
    first, second = (readers[format_](answer.content) for answer in (streamed, page))
    assert sorted(first.to_pylist(), key=str) == sorted(second.to_pylist(), key=str)
    assert first.column_names == second.column_names
    assert (first.num_rows == 0) == (zone == "nowhere")


def test_data_frames_read_a_streamed_answer(client: TestClient, oracle: Oracle, tmp_path: Path) -> None:
    expected = len(oracle.rows([], (), ["event_id"]))
    arrow = client.get(ROWS, params={"limit": "all", "format": "arrow"}).content
    file = tmp_path / "rows.parquet"
    file.write_bytes(client.get(ROWS, params={"limit": "all", "format": "parquet"}).content)
    connection = duckdb.connect()
    connection.register("rows", arrow_rows(arrow))
    assert connection.sql("SELECT count(DISTINCT event_id) FROM rows").fetchall() == [(expected,)]
    assert duckdb.sql(f"SELECT count(DISTINCT event_id) FROM '{file}'").fetchall() == [(expected,)]
    assert pd.read_parquet(file)["event_id"].nunique() == expected
    assert arrow_rows(arrow).to_pandas()["event_id"].nunique() == expected


def test_nothing_was_written_yet(client: TestClient) -> None:
    answer = client.get("/v1/tables/gold.traffic_hourly/rows", params={"limit": "all", "format": "arrow"})
    found = arrow_rows(answer.content)
    assert (found.num_rows, answer.headers["Lakehouse-Snapshot-Id"]) == (0, "none")
    assert found.column_names == [column.name for column in contract("gold.traffic_hourly").columns]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({}, "format=ndjson|csv|parquet|arrow"),
        ({"format": "json"}, "format=ndjson|csv|parquet|arrow"),
        ({"format": "csv", "order": "zone"}, "no particular order"),
        ({"format": "csv", "order": "zone", "cursor": "x"}, "no particular order"),
        ({"format": "csv", "cursor": "x"}, "order"),
    ],
)
def test_what_cannot_be_streamed_is_refused(client: TestClient, asked: dict[str, str], says: str) -> None:
    answer = client.get(ROWS, params={"limit": "all", **asked})
    assert answer.status_code == 422
    assert says in answer.json()["detail"]


def test_a_known_stream_is_not_read_again(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"limit": "all", "format": "arrow"}
    first = client.get(ROWS, params=asked)
    assert first.headers["ETag"] != client.get(ROWS, params={**asked, "limit": "300"}).headers["ETag"]
    monkeypatch.setattr(everything, "read_everything", lambda *_: pytest.fail("it was read"))
    again = client.get(ROWS, params=asked, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_store_that_is_gone_is_503(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(*_: object) -> None:
        raise OSError("When reading information for key: network connection")

    monkeypatch.setattr(ArrowScan, "to_table", unreadable)
    answer = client.get(ROWS, params={"limit": "all", "format": "arrow"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/problem+json")


@pytest.mark.usefixtures("whole_bytes")
def test_columns_of_files_from_before_a_change(tmp_path: Path, settings: Settings) -> None:
    declared = contract("silver.energy_1m")
    catalog = SqlCatalog("lakehouse", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}")
    ensure_tables(catalog, all_tables(), commit_retries=settings.commit_retries)
    table = catalog.load_table(declared.identifier)
    with table.update_schema() as update:
        update.delete_column("power_factor_mean")
        update.rename_column("active_power_kw_mean", "power_then")
    old: dict[str, Any] = {column.name: None if column.nullable else 1 for column in declared.columns}
    old |= {"sensor_id": "energy-1", "window_start": START, "window_end": START + timedelta(minutes=1)}
    old |= {"power_then": 2.5, "zone": "centre"}
    table.append(pa.Table.from_pylist([old], schema=table.schema().as_arrow()))
    with table.update_schema() as update:
        update.rename_column("power_then", "active_power_kw_mean")
    ensure_tables(catalog, all_tables(), commit_retries=settings.commit_retries)
    path = f"/v1/tables/{declared.identifier}/rows"
    columns = "power_factor_mean,active_power_kw_mean"
    with TestClient(create_app(settings, catalog_factory=lambda _: catalog), headers={"X-API-Key": KEY}) as client:
        for filters, rows in [
            ({}, 1),
            ({"power_factor_mean__is_null": "true"}, 1),
            ({"power_factor_mean__gt": "0"}, 0),
            ({"active_power_kw_mean": "2.5"}, 1),
            ({"active_power_kw_mean__lt": "2"}, 0),
        ]:
            asked = {"limit": "all", "format": "arrow", "columns": columns, **filters}
            found = arrow_rows(client.get(path, params=asked).content).to_pylist()
            assert found == [{"power_factor_mean": None, "active_power_kw_mean": 2.5}] * rows, filters


PEAK = """
import json, re, sys
from pathlib import Path
import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from prometheus_client import CollectorRegistry
from api.caching.batches import Batches
from api.caching.file_lists import FileLists
from api.caching.metrics import CacheMetrics
from api.caching.source import Source
from api.rows.dependencies import RowQuery
from api.rows.everything import read_everything
from api.rows.formats import Format
from contracts import table as contract
from pyiceberg.expressions import AlwaysTrue

folder, format_ = sys.argv[1:]
declared = contract("bronze.traffic_events")
catalog = SqlCatalog("lakehouse", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
table = catalog.load_table(declared.identifier)
query = RowQuery(
    table=declared, columns=tuple(column.name for column in declared.columns), order=(), limit=1,
    row_filter=AlwaysTrue(), as_of=None, cursor=None, format=Format(format_), sent=(), everything=True,
)
metrics = CacheMetrics(CollectorRegistry())
file_lists, batches = FileLists(64 << 20, metrics.of("file_lists")), Batches(256 << 20, metrics.of("batches"))
sent = sum(map(len, read_everything(Source(table, table.current_snapshot(), file_lists, batches), query).body))
peak = pa.default_memory_pool().max_memory()
# not ru_maxrss: it counts what the parent had when it forked
kilobytes = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
print(json.dumps({"sent": sent, "arrow": peak, "process": int(kilobytes) << 10}))
"""


def large_table(folder: Path, settings: Settings, *, files: int, rows: int) -> int:
    """Write a table; returns how many bytes its rows are in memory."""
    folder.mkdir()
    size = 0
    catalog = SqlCatalog("lakehouse", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    ensure_tables(catalog, all_tables(), commit_retries=settings.commit_retries)
    table = catalog.load_table(TABLE.identifier)
    numbers = np.random.default_rng(7)
    for file in range(files):
        offsets = np.arange(file * rows, (file + 1) * rows)
        times = pa.array(np.datetime64("2026-03-01", "us") + numbers.integers(0, 86_400_000_000, rows)).cast(
            pa.timestamp("us", tz="UTC")
        )
        columns = {
            "event_id": pa.array([f"event-{offset:012}" for offset in offsets]),
            "sensor_id": pa.array([f"traffic-{sensor:05}" for sensor in numbers.integers(0, 9999, rows)]),
            "event_time": times,
            "zone": pa.nulls(rows, pa.string()),
            "latitude": numbers.random(rows),
            "longitude": numbers.random(rows),
            "vehicle_count": numbers.integers(0, 99, rows),
            "avg_speed_kmh": numbers.random(rows),
            "occupancy_ratio": numbers.random(rows),
            "kafka_partition": np.zeros(rows, dtype=np.int32),
            "kafka_offset": offsets,
            "kafka_time": times,
        }
        written = pa.table(columns).cast(table.schema().as_arrow())
        table.append(written)
        size += written.nbytes
    return size


@pytest.fixture(scope="module")
def two_tables(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> tuple[Path, Path, int]:
    """Tables of few and of many rows, and how many bytes more the many are in memory."""
    folder = tmp_path_factory.mktemp("large")
    few = large_table(folder / "one", settings, files=1, rows=250_000)
    many = large_table(folder / "three", settings, files=3, rows=700_000)
    return folder / "one", folder / "three", many - few


@pytest.mark.parametrize("format_", ["arrow", "parquet"])
def test_memory_does_not_grow_with_the_rows(two_tables: tuple[Path, Path, int], format_: str) -> None:
    *folders, more = two_tables
    few, many = (
        json.loads(
            subprocess.run(
                [sys.executable, "-c", PEAK, str(folder), format_], capture_output=True, text=True, check=True
            ).stdout
        )
        for folder in folders
    )
    assert many["sent"] > 8 * few["sent"]
    # how many batches are on their way at a time depends on the machine; all rows would be all of it
    assert many["arrow"] - few["arrow"] < more / 4
    assert many["process"] - few["process"] < more / 2
