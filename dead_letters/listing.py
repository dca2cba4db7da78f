"""What is in ``bronze.dead_letters``: the newest ones, and how many of each kind."""

import base64
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression, EqualTo
from pyiceberg.table import Table as IcebergTable

from dead_letters.classify import ErrorClass

NEWEST_FIRST = [("kafka_time", "descending"), ("kafka_offset", "descending")]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which dead letters are meant; all of them without a family and an error class."""

    family: str | None = None
    error_class: ErrorClass | None = None

    def expression(self) -> BooleanExpression:
        """The condition for a scan of the table."""
        wanted: BooleanExpression = AlwaysTrue()
        if self.family is not None:
            wanted = And(wanted, EqualTo(term="family", value=self.family))
        if self.error_class is not None:
            wanted = And(wanted, EqualTo(term="error_class", value=str(self.error_class)))
        return wanted


@dataclass(frozen=True, slots=True)
class Count:
    """How many dead letters of a family have an error class."""

    family: str
    error_class: str
    count: int


def counts(table: IcebergTable, chosen: Filter) -> list[Count]:
    """Number of dead letters by family and error class."""
    found: dict[tuple[str, str], int] = {}
    scan = table.scan(row_filter=chosen.expression(), selected_fields=("family", "error_class"))
    for batch in scan.to_arrow_batch_reader():
        rows = pa.Table.from_batches([batch]).group_by(["family", "error_class"]).aggregate([([], "count_all")])
        for row in rows.to_pylist():
            key = (row["family"], row["error_class"])
            found[key] = found.get(key, 0) + row["count_all"]
    return [Count(family, error_class, count) for (family, error_class), count in sorted(found.items())]


def newest(table: IcebergTable, chosen: Filter, limit: int) -> list[dict[str, Any]]:
    """The ``limit`` newest dead letters by Kafka's time, ready for JSON.

    ``payload`` and ``kafka_key`` are text where they are UTF-8 and base64 elsewhere; ``payload_encoding`` and
    ``kafka_key_encoding`` say which.
    """
    best: pa.Table | None = None
    for batch in table.scan(row_filter=chosen.expression()).to_arrow_batch_reader():
        rows = pa.Table.from_batches([batch])
        rows = rows if best is None else pa.concat_tables([best, rows])
        best = rows.sort_by(NEWEST_FIRST).slice(0, limit)
    return [] if best is None else [_as_json(row) for row in best.to_pylist()]


def _as_json(row: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, value in row.items():
        if name in {"payload", "kafka_key"}:
            shown[name], shown[f"{name}_encoding"] = _text(value)
        else:
            shown[name] = value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value
    return shown


def _text(value: bytes | None) -> tuple[str | None, str | None]:
    if value is None:
        return None, None
    try:
        return value.decode(), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(value).decode(), "base64"
