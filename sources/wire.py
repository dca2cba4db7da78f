"""The JSON of an event on its topic: a flat object with the event columns of the contract.

``event_time`` is ISO-8601 in UTC with exactly six decimals and ``Z``, absent values are ``null``. The key of
the Kafka record is the ``sensor_id``. Events are encoded a batch at a time with Arrow's string kernels, which
costs half of what a JSON encoder called per event does.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from contracts import ColumnType, Family
from contracts.tables import event_columns

ARROW_TYPES = {
    ColumnType.STRING: pa.string(),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.INT: pa.int32(),
    ColumnType.LONG: pa.int64(),
    ColumnType.DOUBLE: pa.float64(),
    ColumnType.TIMESTAMP: pa.timestamp("us", tz="UTC"),
}

_NEEDS_ESCAPE = r'["\\\x00-\x1f]'
_THREE_DIGITS = np.array([f"{number:03d}" for number in range(1000)], dtype="S3")
_TIME_WIDTH = len("2026-11-24T07:00:00.123456Z")


def event_schema(family: Family) -> pa.Schema:
    """Arrow schema of a batch of events of ``family``."""
    return pa.schema(
        [
            pa.field(column.name, ARROW_TYPES[column.type], nullable=column.nullable)
            for column in event_columns(family)
        ]
    )


def encode(events: pa.RecordBatch) -> list[bytes]:
    """JSON of each event.

    Every column of the batch becomes a member, in order. Doubles are written with the fewest digits that read
    back as the same number; they have to be finite.
    """
    pieces: list[pa.Array | str] = []
    separator = "{"
    for name, column in zip(events.schema.names, events.columns, strict=True):
        pieces += [f'{separator}"{name}":', pc.fill_null(_json(column), "null")]
        separator = ","
    joined = pc.binary_join_element_wise(*pieces, "}", "")
    return _split(joined)


def record_keys(events: pa.RecordBatch) -> list[bytes]:
    """Key of each event's Kafka record: its ``sensor_id``."""
    encoded = events.column("sensor_id").dictionary_encode()
    keys = [key.encode() for key in encoded.dictionary.to_pylist()]
    return [keys[index] for index in encoded.indices.to_pylist()]


def format_times(times: npt.NDArray[np.int64]) -> pa.Array:
    """Microseconds since the epoch as ``2026-11-24T07:00:00.123456Z``, for the years 1 to 9999."""
    seconds, micros = np.divmod(times, 1_000_000)
    distinct, index = np.unique(seconds, return_inverse=True)
    text = np.empty((len(times), _TIME_WIDTH), dtype=np.uint8)
    text[:, :19] = _characters(np.datetime_as_string(distinct.astype("datetime64[s]")).astype("S19"))[index]
    text[:, 19] = ord(".")
    text[:, 20:23] = _characters(_THREE_DIGITS[micros // 1000])
    text[:, 23:26] = _characters(_THREE_DIGITS[micros % 1000])
    text[:, 26] = ord("Z")
    offsets = np.arange(0, text.size + 1, _TIME_WIDTH, dtype=np.int32)
    return pa.StringArray.from_buffers(len(times), pa.py_buffer(offsets), pa.py_buffer(text))


def _characters(texts: npt.NDArray[np.bytes_]) -> npt.NDArray[np.uint8]:
    return texts.view(np.uint8).reshape(len(texts), texts.itemsize)


def _json(column: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(column.type):
        quoted = format_times(column.cast(pa.int64()).to_numpy(zero_copy_only=False))
        return pc.binary_join_element_wise('"', quoted, '"', "")
    if pa.types.is_string(column.type):
        return _json_strings(column)
    return column.cast(pa.string())


def _json_strings(column: pa.Array) -> pa.Array:
    if pc.any(pc.match_substring_regex(column, _NEEDS_ESCAPE)).as_py():
        texts: Sequence[str | None] = column.to_pylist()
        return pa.array([None if text is None else orjson.dumps(text).decode() for text in texts], pa.string())
    return pc.binary_join_element_wise('"', column, '"', "")


def _split(strings: pa.Array) -> list[bytes]:
    if len(strings) == 0:
        return []
    _validity, offsets, data = strings.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int32)[strings.offset : strings.offset + len(strings) + 1].tolist()
    content: bytes = data.to_pybytes()
    return [content[start:end] for start, end in pairwise(bounds)]
