"""Real Iceberg tables on the local disk, so that no service is needed."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog

from contracts import ColumnType, Table, all_tables
from contracts.rules import OneOf
from resources.catalog import ensure_tables

START = datetime(2024, 3, 1, tzinfo=UTC)


def open_disk_catalog(folder: Path) -> Catalog:
    catalog = SqlCatalog("disk", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    ensure_tables(catalog, all_tables(), commit_retries=10)
    return catalog


def plausible_row(declared: Table, number: int) -> dict[str, Any]:
    """A row that meets the contract; ``number`` makes its key unique and its time grow by a second."""
    values: dict[ColumnType, Callable[[], Any]] = {
        ColumnType.STRING: lambda: f"s{number}",
        ColumnType.BOOLEAN: lambda: True,
        ColumnType.INT: lambda: number,
        ColumnType.LONG: lambda: number,
        ColumnType.DOUBLE: lambda: 1.0,
        ColumnType.TIMESTAMP: lambda: START + timedelta(seconds=number),
        ColumnType.BINARY: lambda: b"bytes",
    }
    row = {column.name: values[column.type]() for column in declared.columns}
    for column in declared.columns:
        if column.minimum is not None and row[column.name] < column.minimum:
            row[column.name] = type(row[column.name])(column.minimum)
        if column.maximum is not None and row[column.name] > column.maximum:
            row[column.name] = type(row[column.name])(column.maximum)
        if column.name.endswith("_mean") and (smallest := f"{column.name[:-4]}min") in row:
            row[column.name] = float(row[smallest])
        if column.name.endswith("_count"):
            row[column.name] = max(1, number)
    for rule in declared.rules:
        if isinstance(rule, OneOf):
            row[rule.column] = rule.values[number % len(rule.values)]
    if declared.tile is not None:
        row["window_end"] = row["window_start"] + declared.tile
    return row


def arrow_rows(catalog: Catalog, declared: Table, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=catalog.load_table(declared.identifier).schema().as_arrow())


def compact(catalog: Catalog, declared: Table) -> None:
    """Rewrite all files of the table, as maintenance does."""
    table = catalog.load_table(declared.identifier)
    table.overwrite(table.scan().to_arrow())
    # PyIceberg overwrites in two commits and cannot say `replace`: its metadata is edited
    path = Path(urlparse(catalog.load_table(declared.identifier).metadata_location).path)
    metadata = json.loads(path.read_bytes())
    for snapshot in metadata["snapshots"][-2:]:
        snapshot["summary"]["operation"] = "replace"
    path.write_text(json.dumps(metadata))


def expire(catalog: Catalog, declared: Table, keep: int = 1) -> None:
    """Forget all snapshots of the table but the newest ``keep``."""
    table = catalog.load_table(declared.identifier)
    old = [snapshot.snapshot_id for snapshot in table.snapshots()[:-keep]]
    if old:
        table.maintenance.expire_snapshots().by_ids(old).commit()
