"""Columns of small data files, decoded once and filtered in memory.

A stream leaves a file every few seconds, and what is asked for most is in the newest of them: opening them costs
more than what is in them. Of larger files only what a filter leaves is read, by PyIceberg, each time.
"""

from collections.abc import Iterable, Sequence

import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.expressions.visitors import bind, extract_field_ids
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask
from pyiceberg.table import Table as IcebergTable

from api.caching.byte_cache import ByteCache
from api.caching.metrics import Counted

WHOLE_BYTES = 1 << 20
"""Size in the file of the columns that a query needs, up to which they are read whole."""
WHOLE_VALUES = 1 << 20
"""Values in those columns, up to which they are: some ten megabytes when decoded, however small they are in the
file. A group of files read at once holds eight of them."""

Column = tuple[str, int, str, int]
"""A table by its UUID, its schema, a data file, and a field of the schema. Data files never change, and what a
field makes of one follows from the schema."""


class Batches:
    """Decoded columns; safe to use from any thread."""

    def __init__(self, budget: int, counted: Counted) -> None:
        self._columns: ByteCache[Column, pa.ChunkedArray] = ByteCache(
            budget, size=lambda column: int(column.get_total_buffer_size()), counted=counted
        )

    def scan(
        self, table: IcebergTable, projection: Schema, row_filter: BooleanExpression, *, limit: int | None = None
    ) -> "Scan":
        """Prepare to read the columns of ``projection`` of the rows of ``row_filter``, at most ``limit``."""
        return Scan(self._columns, table, projection, row_filter, limit)


class Scan:
    """Reads files, those that are small by the columns that are kept."""

    def __init__(
        self,
        columns: ByteCache[Column, pa.ChunkedArray],
        table: IcebergTable,
        projection: Schema,
        row_filter: BooleanExpression,
        limit: int | None,
    ) -> None:
        # PyIceberg's reader imports pandas: a second that the start of the service need not wait for
        from pyiceberg.io.pyarrow import ArrowScan, expression_to_pyarrow, schema_to_pyarrow

        schema = table.schema()
        bound = bind(schema, row_filter, case_sensitive=True)
        self._columns = columns
        self._names = [field.name for field in projection.fields]
        self._condition = None if bound == AlwaysTrue() else expression_to_pyarrow(bound, schema)
        filtered = {schema.find_field(field_id).name for field_id in extract_field_ids(bound)}
        self._needed = schema.select(*self._names, *filtered)
        self._of_table = str(table.metadata.table_uuid), schema.schema_id
        self._limit = limit
        self._matching = ArrowScan(table.metadata, table.io, projection, row_filter, limit=limit)
        self._whole = ArrowScan(table.metadata, table.io, self._needed, AlwaysTrue())
        self._types = schema_to_pyarrow(projection, include_field_ids=False)
        self._kept_types = schema_to_pyarrow(self._needed, include_field_ids=False)

    def to_table(self, tasks: Iterable[FileScanTask]) -> pa.Table:
        """The rows that match, in no particular order.

        Raises:
            OSError: the object store does not answer.
        """
        small: list[FileScanTask] = []
        others: list[FileScanTask] = []
        for task in tasks:
            (small if self._is_small(task) else others).append(task)
        found = [self._types.empty_table()]
        if small:
            rows = pa.concat_tables(self._read_small(small))
            found.append((rows if self._condition is None else rows.filter(self._condition)).select(self._names))
        if others:
            found.append(self._matching.to_table(others))
        rows = pa.concat_tables([each for each in found if each.num_rows] or found, promote_options="permissive")
        return rows if self._limit is None else rows.slice(0, self._limit)

    def _is_small(self, task: FileScanTask) -> bool:
        """Whether all that the file's rows need is in it, and little."""
        sizes = task.file.column_sizes or {}
        size = sum(sizes.get(field.field_id, 0) for field in self._needed.fields)
        return (
            not task.delete_files
            and (size or task.file.file_size_in_bytes) <= WHOLE_BYTES
            and task.file.record_count * len(self._needed.fields) <= WHOLE_VALUES
        )

    def _read_small(self, tasks: Sequence[FileScanTask]) -> list[pa.Table]:
        kept = [self._kept(task) for task in tasks]
        missing = [task for task, rows in zip(tasks, kept, strict=True) if rows is None]
        read = iter(self._read(missing) if missing else ())
        return [next(read) if rows is None else rows for rows in kept]

    def _kept(self, task: FileScanTask) -> pa.Table | None:
        columns = []
        for field in self._needed.fields:
            column = self._columns.get(self._key(task, field.field_id))
            if column is None:
                return None
            columns.append(column)
        return pa.table(columns, schema=self._kept_types)

    def _read(self, tasks: Sequence[FileScanTask]) -> list[pa.Table]:
        """Read the needed columns whole, and keep them."""
        read = self._whole.to_table(tasks)
        # files of different writers hold text with 32 or 64-bit offsets
        columns = [read[field.name].cast(field.type) for field in self._kept_types]
        rows = pa.table(columns, schema=self._kept_types)
        if sum(task.file.record_count for task in tasks) != rows.num_rows:
            # a writer's count is wrong: where one file's rows end is not known then
            return [rows, *[rows.slice(0, 0)] * (len(tasks) - 1)]
        parts = []
        start = 0
        for task in tasks:
            part = rows.slice(start, task.file.record_count)
            start += task.file.record_count
            for field in self._needed.fields:
                self._columns.put(self._key(task, field.field_id), part[field.name])
            parts.append(part)
        return parts

    def _key(self, task: FileScanTask, field_id: int) -> Column:
        return (*self._of_table, task.file.file_path, field_id)
