"""The newest row of each sensor or zone in a table, from the newest files alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import BooleanExpression
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.table import FileScanTask
from pyiceberg.types import TimestamptzType

from api.caching.source import Source
from api.rows.filters import Operator, compare
from api.rows.service import contract_schema, file_groups
from contracts import Table

MOST_ROWS = 1_000_000
"""Rows of the files that are read: some 100 MiB, less than a second's work."""

_EPOCH = datetime.fromtimestamp(0, UTC)
_UNKNOWN = datetime.max.replace(tzinfo=UTC)
"""Bound of a file that does not say how far it reaches: it is read first."""


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest row of each sensor or zone that has one after ``since``."""

    rows: pa.Table
    since: datetime


def newest_of_each(
    source: Source,
    *,
    declared: Table,
    by: str,
    order: Sequence[str],
    since: datetime,
) -> Newest:
    """Return of each value of ``by`` the row that is the greatest in ``order`` and not from before ``since``.

    Files are read from the newest on. Where all that is not from before ``since`` would be too much, ``since`` of
    what is returned is later. Blocks.

    Raises:
        TableBehindContractError: the table lacks a column that the contract has.
        OSError: the object store does not answer.
    """
    schema = contract_schema(source.table, declared)
    row_filter: BooleanExpression = compare(declared.event_time, Operator.GE, since)
    reader = ArrowScan(source.table.metadata, source.table.io, schema.select(*schema.column_names), row_filter)
    column = schema.find_field(declared.event_time).field_id
    tasks = sorted(source.files(row_filter), key=lambda task: _reaches(task, column), reverse=True)
    rows = reader.to_table([])
    read = 0
    for group in file_groups(tasks):
        more = sum(task.file.record_count for task in group)
        if read and read + more > MOST_ROWS:
            since = _reaches(group[0], column)
            rows = rows.filter(pc.greater(rows[declared.event_time], pa.scalar(since)))
            break
        read += more
        # files of different writers hold text with 32 or 64-bit offsets
        rows = pa.concat_tables([rows, reader.to_table(group)], promote_options="permissive")
        rows = _greatest_of_each(rows, by, order)
    return Newest(rows.select([column.name for column in declared.columns]), since)


def _reaches(task: FileScanTask, column: int) -> datetime:
    bound = (task.file.upper_bounds or {}).get(column)
    if bound is None:
        return _UNKNOWN
    # single-value serialization of the Iceberg specification, appendix D
    return _EPOCH + timedelta(microseconds=int(from_bytes(TimestamptzType(), bound)))


def _greatest_of_each(rows: pa.Table, by: str, order: Sequence[str]) -> pa.Table:
    sorted_rows = pc.sort_indices(rows, sort_keys=[(name, "descending") for name in order])
    ranks = pa.table({by: rows[by].take(sorted_rows), "rank": np.arange(rows.num_rows)})
    first = ranks.group_by(by).aggregate([("rank", "min")])["rank_min"]
    return rows.take(sorted_rows.take(first))
