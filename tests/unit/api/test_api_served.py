"""Rows as data frames read them from the served API, and what its process takes to send very many."""

import io
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import httpx
import numpy as np
import pandas as pd
import polars
import psutil
import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from client import Lakehouse
from contracts import all_tables
from contracts import table as contract
from resources.catalog import ensure_tables
from settings import Settings
from tests.unit.api.live_values import KEY, PATIENCE_S, served
from tests.unit.api.patient_service import WAREHOUSE

DECLARED = contract("bronze.traffic_events")
ROWS = f"/v1/tables/{DECLARED.identifier}/rows"
MIB = 1 << 20

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def url(settings: Settings, catalog: SqlCatalog) -> Iterator[str]:
    with served(settings, **{WAREHOUSE: catalog.properties["warehouse"].removeprefix("file://")}) as url:
        yield url


@pytest.fixture(scope="module")
def expected(events: list[Rows]) -> Rows:
    return in_order([row for rows in events for row in rows])


def in_order(rows: Rows) -> Rows:
    return sorted(rows, key=lambda row: (row["kafka_partition"], row["kafka_offset"]))


def from_pandas(frame: pd.DataFrame) -> Rows:
    return pa.Table.from_pandas(frame, preserve_index=False).to_pylist()


def from_duckdb(relation: duckdb.DuckDBPyRelation) -> Rows:
    return relation.to_arrow_table().to_pylist()


def duckdb_file(content: bytes, folder: Path) -> Rows:
    (folder / "rows.parquet").write_bytes(content)
    return from_duckdb(duckdb.sql(f"FROM '{folder}/rows.parquet'"))


def duckdb_stream(content: bytes) -> Rows:
    stream = pa.ipc.open_stream(content)
    assert stream is not None
    return from_duckdb(duckdb.sql("FROM stream"))


READERS: dict[tuple[str, str], Callable[[bytes, Path], Rows]] = {
    # whole numbers with nulls stay whole numbers
    ("pandas", "parquet"): lambda body, _: from_pandas(pd.read_parquet(io.BytesIO(body), dtype_backend="pyarrow")),
    ("pandas", "arrow"): lambda body, _: from_pandas(
        pa.ipc.open_stream(body).read_pandas(types_mapper=pd.ArrowDtype)
    ),
    ("polars", "parquet"): lambda body, _: polars.read_parquet(body).to_dicts(),
    ("polars", "arrow"): lambda body, _: polars.read_ipc_stream(body).to_dicts(),
    ("duckdb", "parquet"): duckdb_file,
    ("duckdb", "arrow"): lambda body, _: duckdb_stream(body),
}


@pytest.mark.parametrize("reader", READERS, ids="-".join)
@pytest.mark.parametrize("limit", ["all", "300"])
def test_data_frames_read_what_is_served(
    url: str, expected: Rows, tmp_path: Path, reader: tuple[str, str], limit: str
) -> None:
    asked = {"format": reader[1], "limit": limit}
    if limit != "all":
        asked["order"] = ",".join(DECLARED.key)
    answer = httpx.get(f"{url}{ROWS}", params=asked, headers=KEY, timeout=PATIENCE_S)
    assert answer.status_code == 200
    found = [
        {name: value.astimezone(UTC) if isinstance(value, datetime) else value for name, value in row.items()}
        for row in READERS[reader](answer.content, tmp_path)
    ]
    assert in_order(found) == (expected if limit == "all" else expected[:300])


def test_the_clients_rows_become_frames(url: str, expected: Rows) -> None:
    with Lakehouse(url, KEY["X-API-Key"], page_rows=300) as lakehouse:
        rows = lakehouse.rows(DECLARED.identifier, where={"zone": "north"})
        groups = lakehouse.aggregate(DECLARED.identifier, ["count", "max(kafka_offset)"], group_by=["zone"])
    wanted = [row for row in expected if row["zone"] == "north"]
    frame = polars.from_arrow(rows)
    assert isinstance(frame, polars.DataFrame)
    assert in_order(frame.to_dicts()) == wanted
    assert in_order(from_pandas(rows.to_pandas(types_mapper=pd.ArrowDtype))) == wanted
    assert in_order(from_duckdb(duckdb.sql("FROM rows").filter("true"))) == wanted
    counted = polars.from_arrow(groups)
    assert isinstance(counted, polars.DataFrame)
    ((count, newest),) = counted.filter(polars.col("zone") == "north").select(counted.columns[1:]).rows()
    assert (count, newest) == (len(wanted), max(row["kafka_offset"] for row in wanted))


def peak_bytes() -> int:
    """The most memory that a process below this one has ever had resident."""
    statuses = (Path(f"/proc/{child.pid}/status") for child in psutil.Process().children(recursive=True))
    peaks = (re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) for status in statuses)
    return max(int(peak[1]) << 10 for peak in peaks if peak)


def million(schema: pa.Schema) -> pa.Table:
    numbers = np.random.default_rng(7)
    count = 1_000_000
    times = pa.array(np.datetime64("2026-03-01", "us") + numbers.integers(0, 86_400_000_000, count))
    sensors = pa.array([f"traffic-{number:05}" for number in range(9_999)])
    columns = {
        "event_id": pa.array(np.char.add("event-", np.arange(count).astype("U7"))),
        "sensor_id": sensors.take(pa.array(numbers.integers(0, 9_999, count))),
        "event_time": times.cast(pa.timestamp("us", tz="UTC")),
        "zone": pa.array(["north"]).take(pa.array(np.zeros(count, dtype=np.int32))),
        "latitude": numbers.random(count),
        "longitude": numbers.random(count),
        "vehicle_count": numbers.integers(0, 99, count),
        "avg_speed_kmh": numbers.random(count),
        "occupancy_ratio": numbers.random(count),
        "kafka_partition": np.zeros(count, dtype=np.int32),
        "kafka_offset": np.arange(count),
        "kafka_time": times.cast(pa.timestamp("us", tz="UTC")),
    }
    return pa.table(columns).select(schema.names).cast(schema)


def test_ten_million_rows_are_sent_by_a_process_of_less_than_500_mib(settings: Settings, tmp_path: Path) -> None:
    catalog = SqlCatalog("lakehouse", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}")
    ensure_tables(catalog, all_tables(), commit_retries=settings.commit_retries)
    table = catalog.load_table(DECLARED.identifier)
    rows = million(table.schema().as_arrow())
    for _ in range(10):
        table.append(rows)
    del rows
    with served(settings, **{WAREHOUSE: str(tmp_path)}) as url:
        asked = {"limit": "all", "format": "arrow"}
        with httpx.stream("GET", f"{url}{ROWS}", params=asked, headers=KEY, timeout=PATIENCE_S) as answer:
            assert answer.status_code == 200
            counted = sum(batch.num_rows for batch in pa.ipc.open_stream(Body(answer)))
        assert counted == 10_000_000
        peak = peak_bytes()
    assert peak < 500 * MIB


class Body(io.RawIOBase):
    """The body of an answer as a file, read as it comes."""

    def __init__(self, answer: httpx.Response) -> None:
        self._chunks = answer.iter_bytes()
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        assert size >= 0
        pieces = [self._rest]
        have = len(self._rest)
        while have < size and (chunk := next(self._chunks, b"")):
            pieces.append(chunk)
            have += len(chunk)
        content = b"".join(pieces)
        self._rest = content[size:]
        return content[:size]
