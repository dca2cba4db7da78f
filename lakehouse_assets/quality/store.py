"""Writes and reads the table of evaluations, and puts the report where the API finds it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog

from contracts import Table
from resources.object_store import object_store
from settings import Settings


def overwrite(
    catalog: Catalog, declared: Table, rows: Sequence[dict[str, Any]], start: datetime, end: datetime
) -> pa.Table:
    """Replace the rows of ``[start, end)`` in one commit, and return what was written."""
    table = catalog.load_table(declared.identifier)
    time, written = declared.event_time, pa.Table.from_pylist(list(rows), schema=table.schema().as_arrow())
    table.overwrite(written, overwrite_filter=f"{time} >= '{start.isoformat()}' and {time} < '{end.isoformat()}'")
    return written


def results_since(catalog: Catalog, declared: Table, start: datetime) -> list[dict[str, Any]]:
    """The rows from ``start`` on, oldest first."""
    table = catalog.load_table(declared.identifier)
    rows = table.scan(f"{declared.event_time} >= '{start.isoformat()}'").to_arrow()
    found: list[dict[str, Any]] = rows.sort_by(declared.event_time).to_pylist()
    return found


def write_report(settings: Settings, name: str, html: str) -> str:
    """Store the report, and return where."""
    bucket = settings.report_location.removeprefix("s3://")
    store = object_store(settings)
    store.create_dir(bucket)
    with store.open_output_stream(f"{bucket}/{name}") as stream:
        stream.write(html.encode())
    return f"{settings.report_location}/{name}"
