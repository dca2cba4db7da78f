"""Reads all rows of a query batch by batch, with memory that does not grow with their number."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
from pyarrow import dataset, parquet
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.expressions.visitors import bind, extract_field_ids, translate_column_names
from pyiceberg.io.pyarrow import ArrowScan, expression_to_pyarrow, pyarrow_to_schema, schema_to_pyarrow
from pyiceberg.manifest import FileFormat
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask
from pyiceberg.table import Table as IcebergTable
from pyiceberg.transforms import IdentityTransform

from api.caching.page import Page
from api.caching.source import Source
from api.deadlines import check_deadline
from api.rows.dependencies import RowQuery
from api.rows.service import contract_schema, file_groups
from api.rows.writers import WRITERS

BATCH_ROWS = 1 << 16
WHOLE_BYTES = 4 << 20
"""Size of a file, or of a group of files, that PyIceberg reads whole: some ten times that when decoded."""
BUFFER_BYTES = 1 << 20
"""How much of each column of a larger file is fetched at once."""


def read_everything(source: Source, query: RowQuery) -> Page:
    """Answer ``query`` from ``source`` without regard to its limit; blocks, as does each piece of the body.

    Rows that are read once and are many are not kept.

    Raises:
        TableBehindContractError: the table lacks a column that the contract has.
        OSError: the object store does not answer.
    """
    table = source.table
    projection = contract_schema(table, query.table).select(*query.columns)
    tasks = source.files(query.row_filter)
    # a selection of Iceberg's has the order of the schema
    types = schema_to_pyarrow(projection, include_field_ids=False)
    types = pa.schema([types.field(name) for name in query.columns], types.metadata)
    batches = (
        batch.select(query.columns).cast(types) for batch in _batches(table, tasks, projection, query.row_filter)
    )
    return Page(WRITERS[query.format](types, batches), has_more=False)


def _batches(
    table: IcebergTable, tasks: Sequence[FileScanTask], projection: Schema, row_filter: BooleanExpression
) -> Iterator[pa.RecordBatch]:
    reader = ArrowScan(table.metadata, table.io, projection, row_filter)
    for group in file_groups(tasks, most_bytes=WHOLE_BYTES):
        if group[0].file.file_size_in_bytes > WHOLE_BYTES and _has_rows_as_they_are(table, group[0]):
            yield from _batches_of_large_file(table, group[0], projection, row_filter)
        else:
            yield from reader.to_table(group).to_batches(max_chunksize=BATCH_ROWS)


def _has_rows_as_they_are(table: IcebergTable, task: FileScanTask) -> bool:
    """Whether the file has all that its rows are: no rows deleted elsewhere, no values that metadata alone has."""
    partitioning = table.specs()[task.file.spec_id].fields
    return (
        task.file.file_format == FileFormat.PARQUET
        and not task.delete_files
        and not any(isinstance(field.transform, IdentityTransform) for field in partitioning)
        and all(field.initial_default is None for field in table.schema().fields)
    )


def _batches_of_large_file(
    table: IcebergTable, task: FileScanTask, projection: Schema, row_filter: BooleanExpression
) -> Iterator[pa.RecordBatch]:
    """The file's rows that match, a few pages of each column at a time; PyIceberg holds all rows of a file.

    Columns are found by field id, as the specification has it (section "Column Projection").
    """
    with table.io.new_input(task.file.file_path).open() as opened:
        file = parquet.ParquetFile(opened, buffer_size=BUFFER_BYTES, pre_buffer=False)
        schema = pyarrow_to_schema(
            file.schema_arrow, table.name_mapping(), format_version=table.metadata.format_version
        )
        bound = bind(table.schema(), row_filter, case_sensitive=True)
        matching = bind(schema, translate_column_names(bound, schema), case_sensitive=True)
        names = {field.field_id: field.name for field in schema.fields}
        needed = projection.field_ids | extract_field_ids(bound)
        columns = [name for field_id, name in names.items() if field_id in needed]
        row_groups = None
        condition = None
        if matching != AlwaysTrue():
            condition = expression_to_pyarrow(matching, schema)
            fragment = dataset.ParquetFileFormat().make_fragment(opened)
            row_groups = [group.id for group in fragment.subset(condition, schema=file.schema_arrow).row_groups]
        for batch in file.iter_batches(BATCH_ROWS, row_groups=row_groups, columns=columns):
            check_deadline()
            yield _projected(batch if condition is None else batch.filter(condition), projection, names)


def _projected(batch: pa.RecordBatch, projection: Schema, names: dict[int, str]) -> pa.RecordBatch:
    columns = {}
    for field in projection.fields:
        if field.field_id in names:
            columns[field.name] = batch.column(names[field.field_id])
        else:
            # a column from after the file was written
            columns[field.name] = pa.nulls(batch.num_rows, schema_to_pyarrow(field.field_type))
    return pa.RecordBatch.from_pydict(columns)
