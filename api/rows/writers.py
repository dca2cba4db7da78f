"""Rows in each of the formats."""

import io
from collections.abc import Callable

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from api.rows.formats import Format
from resources.arrow_times import without_zones


def json_bytes(value: object) -> bytes:
    """Write JSON; instants are UTC with ``Z``, and a double that is not finite is null."""
    return orjson.dumps(value, option=orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z)


def _ndjson(rows: pa.Table) -> bytes:
    return b"".join(json_bytes(row) + b"\n" for row in without_zones(rows).to_pylist())


def _csv(rows: pa.Table) -> bytes:
    written = io.BytesIO()
    csv.write_csv(_with_written_instants(rows), written)
    return written.getvalue()


def _with_written_instants(rows: pa.Table) -> pa.Table:
    """Arrow's own CSV puts a space where RFC 3339 has its T."""
    for position, field in enumerate(without_zones(rows).schema):
        if pa.types.is_timestamp(field.type):
            instants = pc.strftime(rows[position].cast(field.type), format="%Y-%m-%dT%H:%M:%SZ")
            rows = rows.set_column(position, field.name, instants)
    return rows


def _parquet(rows: pa.Table) -> bytes:
    written = io.BytesIO()
    parquet.write_table(rows, written, compression="zstd")
    return written.getvalue()


def _arrow(rows: pa.Table) -> bytes:
    written = io.BytesIO()
    with pa.ipc.new_stream(written, rows.schema) as stream:
        stream.write_table(rows)
    return written.getvalue()


WRITERS: dict[Format, Callable[[pa.Table], bytes]] = {
    Format.NDJSON: _ndjson,
    Format.CSV: _csv,
    Format.PARQUET: _parquet,
    Format.ARROW: _arrow,
}
"""Of formats that have rows alone; what an envelope says of them in JSON stands in headers."""
