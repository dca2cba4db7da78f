"""Rows in each of the formats, piece by piece: none of them needs all rows at once."""

import io
from collections.abc import Callable, Generator, Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from api.rows.formats import Format, json_bytes
from resources.arrow_times import without_zones

ROW_GROUP_ROWS = 1 << 17
"""Rows that Parquet keeps until they are written."""

Writer = Callable[[pa.Schema, Iterable[pa.RecordBatch]], Generator[bytes, None, None]]


def written(format_: Format, rows: pa.Table) -> bytes:
    """All ``rows`` at once, in a format that has rows alone."""
    return b"".join(WRITERS[format_](rows.schema, rows.to_batches()))


class _Outbox(io.RawIOBase):
    """What was written and not yet taken; positions count from the first byte, as Parquet's footer does."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, data: Any) -> int:  # noqa: ANN401
        piece = bytes(data)
        self._pieces.append(piece)
        self._position += len(piece)
        return len(piece)

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


def _ndjson(_: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Generator[bytes, None, None]:
    for batch in batches:
        # empty where no row matched: whoever sends the pieces sees that the reading goes on
        rows = without_zones(pa.Table.from_batches([batch])).to_pylist()
        yield b"".join(json_bytes(row) + b"\n" for row in rows)


def _csv(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Generator[bytes, None, None]:
    outbox = _Outbox()
    with csv.CSVWriter(outbox, _with_written_instants(schema.empty_table()).schema) as writer:
        for batch in batches:
            if batch.num_rows:
                writer.write_table(_with_written_instants(pa.Table.from_batches([batch])))
            yield outbox.take()
    yield outbox.take()


def _with_written_instants(rows: pa.Table) -> pa.Table:
    """Arrow's own CSV puts a space where RFC 3339 has its T."""
    for position, field in enumerate(without_zones(rows).schema):
        if pa.types.is_timestamp(field.type):
            instants = pc.strftime(rows[position].cast(field.type), format="%Y-%m-%dT%H:%M:%SZ")
            rows = rows.set_column(position, field.name, instants)
    return rows


def _parquet(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Generator[bytes, None, None]:
    outbox = _Outbox()
    with parquet.ParquetWriter(outbox, schema, compression="zstd") as writer:
        group: list[pa.RecordBatch] = []
        for batch in batches:
            group.append(batch)
            if sum(each.num_rows for each in group) >= ROW_GROUP_ROWS:
                writer.write_table(pa.Table.from_batches(group))
                group = []
            yield outbox.take()
        writer.write_table(pa.Table.from_batches(group, schema))
    yield outbox.take()


def _arrow(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Generator[bytes, None, None]:
    outbox = _Outbox()
    with pa.ipc.new_stream(outbox, schema) as stream:
        for batch in batches:
            if batch.num_rows:
                stream.write_batch(batch)
            yield outbox.take()
    yield outbox.take()


WRITERS: dict[Format, Writer] = {
    Format.NDJSON: _ndjson,
    Format.CSV: _csv,
    Format.PARQUET: _parquet,
    Format.ARROW: _arrow,
}
"""Of formats that have rows alone; what an envelope says of them in JSON stands in headers.

An answer is whole with its last piece alone, which has Parquet's footer and Arrow's end of stream.
"""
