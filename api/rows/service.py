"""Reads rows: the filter and the columns go down to the data files, an order becomes a running top-k."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import And
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask
from pyiceberg.table import Table as IcebergTable
from pyiceberg.types import NestedField, PrimitiveType

from api.caching.batches import Scan
from api.caching.page import Page
from api.caching.source import Source
from api.catalog import TableBehindContractError
from api.deadlines import check_deadline
from api.rows.cursor import Cursor, Direction, Order, encode, rows_after, value_of
from api.rows.dependencies import RowQuery
from api.rows.formats import Format, json_bytes
from api.rows.writers import written
from contracts import Table
from resources.arrow_times import without_zones

GROUP_FILES = 8
GROUP_BYTES = 32 * 2**20
"""Files are read in groups, those of one group at once: PyIceberg holds all rows of all the files it is given, so
the group is what bounds memory, and eight files hide most of the object store's latency."""


def read_page(source: Source, query: RowQuery) -> Page:
    """Answer ``query`` from ``source``; blocks.

    Raises:
        TableBehindContractError: the table lacks a column that the contract has.
        OSError: the object store does not answer.
    """
    rows = matching_rows(source, query)
    has_more = rows.num_rows > query.limit
    page = rows.slice(0, query.limit)
    next_cursor = None
    if has_more and query.order and source.snapshot is not None:
        last = tuple(value_of(page[name][-1]) for name, _ in query.order)
        next_cursor = encode(Cursor(source.snapshot.snapshot_id, query.fingerprint, last))
    return page_of(query.format, page.select(query.columns), has_more=has_more, next_cursor=next_cursor)


def page_of(format_: Format, rows: pa.Table, *, has_more: bool, **others: str | None) -> Page:
    """Write ``rows``; in JSON with ``others`` as further members of the envelope."""
    next_cursor = others.get("next_cursor")
    if format_ is not Format.JSON:
        return Page(written(format_, rows), has_more, next_cursor)
    answer = {
        "columns": rows.column_names,
        "row_count": rows.num_rows,
        "has_more": has_more,
        "rows": without_zones(rows).to_pylist(),
        **others,
    }
    return Page(json_bytes(answer), has_more, next_cursor)


def matching_rows(source: Source, query: RowQuery) -> pa.Table:
    """Return the rows of ``query`` and one more if there is one, in order, with at least its columns.

    The schema is today's whatever the snapshot: files from before a column was added have nulls in it.

    Raises:
        TableBehindContractError: the table lacks a column that the contract has.
        OSError: the object store does not answer.
    """
    schema = contract_schema(source.table, query.table)
    needed = dict.fromkeys((*query.columns, *(name for name, _ in query.order)))
    row_filter = query.row_filter
    if query.cursor is not None:
        types = {column.name: column.type for column in query.table.columns}
        row_filter = And(row_filter, rows_after(query.order, query.cursor.after, types))
    tasks = source.files(row_filter)
    wanted = query.limit + 1
    projection = schema.select(*needed)
    if not query.order:
        return _any_rows(source.scan(projection, row_filter, limit=wanted), tasks, wanted)
    leading = schema.find_field(query.order[0][0])
    return _first_rows(source.scan(projection, row_filter), tasks, query.order, leading, wanted)


def contract_schema(table: IcebergTable, declared: Table) -> Schema:
    """Today's schema of ``table``.

    Raises:
        TableBehindContractError: it lacks a column that the contract has.
    """
    schema = table.schema()
    if missing := [column.name for column in declared.columns if column.name not in schema.column_names]:
        raise TableBehindContractError(declared.identifier, missing)
    return schema


def _any_rows(reader: Scan, tasks: Iterable[FileScanTask], wanted: int) -> pa.Table:
    rows = reader.to_table([])
    for group in file_groups(tasks):
        rows = _joined(rows, reader.to_table(group))
        if rows.num_rows >= wanted:
            break
    return rows.slice(0, wanted)


def _first_rows(
    reader: Scan, tasks: Iterable[FileScanTask], order: Order, leading: NestedField, wanted: int
) -> pa.Table:
    """Keep the first ``wanted`` rows while reading the files, those that can hold them first.

    Stops at the first group of files whose column bounds rule out that any of their rows comes before those kept.
    """
    name, direction = order[0]
    rows = reader.to_table([])
    for group in file_groups(_best_first(tasks, leading, direction)):
        if rows.num_rows == wanted and _all_after(rows[name][-1], _best(group[0], leading, direction), direction):
            break
        candidates = _joined(rows, reader.to_table(group))
        rows = candidates.take(pc.select_k_unstable(candidates, k=wanted, sort_keys=list(order)))
    return rows


def _best_first(tasks: Iterable[FileScanTask], leading: NestedField, direction: Direction) -> list[FileScanTask]:
    """Sort files by the best value that their bounds allow; those without bounds allow anything."""
    bounds = [(_best(task, leading, direction), task) for task in tasks]
    bounded = [(bound, task) for bound, task in bounds if bound is not None]
    bounded.sort(key=lambda pair: pair[0], reverse=direction == "descending")
    return [task for bound, task in bounds if bound is None] + [task for _, task in bounded]


def _best(task: FileScanTask, leading: NestedField, direction: Direction) -> Any:  # noqa: ANN401
    """Return the column's bound in the file's metadata, ``None`` where it has none or holds only nulls."""
    bounds = task.file.upper_bounds if direction == "descending" else task.file.lower_bounds
    bound = (bounds or {}).get(leading.field_id)
    if bound is None or not isinstance(leading.field_type, PrimitiveType):
        return None
    return from_bytes(leading.field_type, bound)


def _all_after(last: pa.Scalar, best: Any, direction: Direction) -> bool:  # noqa: ANN401
    """Whether all values up to ``best`` come after ``last``, the last value kept."""
    value = last.value if isinstance(last, pa.TimestampScalar) else last.as_py()
    if value is None or best is None:
        return False
    return bool(best < value if direction == "descending" else best > value)


def file_groups(
    tasks: Iterable[FileScanTask], *, most_bytes: int = GROUP_BYTES
) -> Iterator[Sequence[FileScanTask]]:
    """Files read at once: at most ``GROUP_FILES`` of them, of ``most_bytes`` together; or a larger one.

    Raises:
        ReadCancelledError: the read is to stop.
    """
    group: list[FileScanTask] = []
    size = 0
    for task in tasks:
        if group and (len(group) == GROUP_FILES or size + task.file.file_size_in_bytes > most_bytes):
            check_deadline()
            yield group
            group, size = [], 0
        group.append(task)
        size += task.file.file_size_in_bytes
    if group:
        check_deadline()
        yield group


def _joined(rows: pa.Table, more: pa.Table) -> pa.Table:
    # files of different writers hold text with 32 or 64-bit offsets
    return pa.concat_tables([rows, more], promote_options="permissive")
