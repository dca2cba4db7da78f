"""DuckDB on the data files of an Iceberg table, copied to the local disk."""

import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import psutil
from pydantic import BaseModel
from pyiceberg.table import FileScanTask
from pyiceberg.table import Table as IcebergTable

from benchmarks.batch import within
from benchmarks.gold_in_duckdb import open_database

COPIES_AT_ONCE = 8
BATCH_ROWS = 1 << 16

PointQuery = tuple[str, datetime, datetime]
"""A sensor, and the bounds of its time."""
Rows = list[dict[str, Any]]


class DuckDbFigures(BaseModel):
    """Milliseconds of queries, one after the other."""

    queries: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class FilesInDuckDb:
    """A database over copies of all files of a table, which are removed at the end."""

    def __init__(self, table: IcebergTable, folder: Path) -> None:
        self._table = table
        self._folder = folder / "files"

    def __enter__(self) -> Self:
        """Copy the files."""
        shutil.rmtree(self._folder, ignore_errors=True)  # of a measurement that was killed
        self._folder.mkdir(parents=True)
        self._database = open_database(self._folder / "spill", psutil.cpu_count() or 1)
        self._database.execute("SET enable_object_cache = true")  # footers are read once
        try:
            with ThreadPoolExecutor(COPIES_AT_ONCE) as pool:
                list(pool.map(self._copy, self._table.scan().plan_files()))
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove them."""
        self._remove()

    def point(self, queries: Sequence[PointQuery]) -> tuple[list[Rows], DuckDbFigures, DuckDbFigures]:
        """Rows of each query by offset, and the times over all files, and over those that Iceberg plans for it."""
        planned = [self._planned(query) for query in queries]
        everything = [f"{self._folder}/*.parquet"]
        # the first query reads the footers
        self._rows(everything, queries[0])
        whole, found = _timed([partial(self._rows, everything, query) for query in queries])
        pruned, again = _timed(
            [partial(self._rows, files, query) for query, files in zip(queries, planned, strict=True)]
        )
        if again != found:
            raise AssertionError("Iceberg plans too few files")
        return found, whole, pruned

    def first_batch_ms(self) -> float:
        """Milliseconds to the first rows of all."""
        begun = time.perf_counter()
        rows = self._database.sql(f"FROM read_parquet('{self._folder}/*.parquet')")
        rows.to_arrow_reader(BATCH_ROWS).read_next_batch()
        return round((time.perf_counter() - begun) * 1000, 3)

    def _rows(self, files: Sequence[str], query: PointQuery) -> Rows:
        names = ", ".join(f"'{file}'" for file in files)
        result = self._database.sql(
            f"FROM read_parquet([{names}]) WHERE sensor_id = ? AND event_time >= ? AND event_time < ? "
            "ORDER BY kafka_offset",
            params=query,
        )
        rows: Rows = result.to_arrow_table().to_pylist()
        return rows

    def _planned(self, query: PointQuery) -> list[str]:
        sensor, start, end = query
        wanted = f"sensor_id = '{sensor}' and {within('event_time', start, end)}"
        return [str(self._copy_of(task)) for task in self._table.scan(wanted).plan_files()]

    def _remove(self) -> None:
        self._database.close()
        shutil.rmtree(self._folder)

    def _copy_of(self, task: FileScanTask) -> Path:
        return self._folder / task.file.file_path.rpartition("/")[2]

    def _copy(self, task: FileScanTask) -> None:
        with (
            self._table.io.new_input(task.file.file_path).open() as source,
            self._copy_of(task).open("wb") as copy,
        ):
            shutil.copyfileobj(source, copy)


def _timed(queries: Sequence[Callable[[], Rows]]) -> tuple[DuckDbFigures, list[Rows]]:
    times, found = [], []
    for query in queries:
        begun = time.perf_counter()
        found.append(query())
        times.append((time.perf_counter() - begun) * 1000)
    p50, p99 = (round(float(value), 3) for value in np.percentile(times, (50, 99)))
    return DuckDbFigures(queries=len(times), p50_ms=p50, p99_ms=p99, max_ms=round(max(times), 3)), found
