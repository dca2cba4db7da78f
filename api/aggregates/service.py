"""Aggregates rows as they are read: PyIceberg prunes files and columns, DuckDB keeps only the groups."""

from collections.abc import Iterator, Sequence

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.table import FileScanTask

from api.aggregates.dependencies import AggregateQuery
from api.aggregates.measures import COUNT
from api.caching.page import Page
from api.caching.source import Source
from api.deadlines import interrupted_by_deadline
from api.problems import InvalidParameter, InvalidParametersError
from api.rows.service import contract_schema, file_groups, page_of
from resources.arrow_times import without_zones

BUCKET = "bucket"
"""Column of the answer that says when the bucket of time begins."""
MEMORY_LIMIT = "512MB"


class TooManyGroupsError(InvalidParametersError):
    """The groups do not fit into the memory that one query may take."""

    def __init__(self) -> None:
        detail = f"there are more groups than fit into {MEMORY_LIMIT}: group by fewer columns or filter the rows"
        super().__init__([InvalidParameter(parameter="group_by", detail=detail)])


class SumTooLargeError(InvalidParametersError):
    """A sum of whole numbers does not fit into 64 bits."""

    def __init__(self) -> None:
        detail = "a sum does not fit into 64 bits: filter the rows, or take avg and count"
        super().__init__([InvalidParameter(parameter="measures", detail=detail)])


def read_aggregates(source: Source, query: AggregateQuery) -> Page:
    """Answer ``query`` from ``source``, with as many groups as its limit lets through; blocks.

    Raises:
        TableBehindContractError: the table lacks a column that the contract has.
        TooManyGroupsError: the groups do not fit into memory.
        SumTooLargeError: a sum does not fit into 64 bits.
        OSError: the object store does not answer.
    """
    tasks = source.files(query.row_filter)
    counted = 0
    if query.measures == (COUNT,) and not query.group_by and query.time_bucket is None:
        counted, tasks = _count_by_metadata(tasks)
    groups = _aggregate(_rows(source, tasks, query), query)
    if counted:
        groups = pa.table({COUNT.name: pc.add(groups[COUNT.name], counted)})
    has_more = groups.num_rows > query.limit
    return page_of(query.format, groups.slice(0, query.limit), has_more=has_more)


def _count_by_metadata(tasks: Sequence[FileScanTask]) -> tuple[int, list[FileScanTask]]:
    """The rows of files that match as a whole, by their partition, and the files that have to be read."""
    counted, unsettled = 0, []
    for task in tasks:
        if task.residual == AlwaysTrue() and not task.delete_files:
            counted += task.file.record_count
        else:
            unsettled.append(task)
    return counted, unsettled


def _rows(source: Source, tasks: Sequence[FileScanTask], query: AggregateQuery) -> pa.RecordBatchReader:
    """The columns that ``query`` needs of the rows that it is about, a few files at a time."""
    schema = contract_schema(source.table, query.table)
    measured = [measure.column for measure in query.measures if measure.column is not None]
    projection = schema.select(*dict.fromkeys((*query.group_by, query.table.event_time, *measured)))
    types = without_zones(schema_to_pyarrow(projection, include_field_ids=False).empty_table()).schema

    def batches() -> Iterator[pa.RecordBatch]:
        reader = source.scan(projection, query.row_filter)
        for group in file_groups(tasks):
            # files of different writers hold text with 32 or 64-bit offsets
            yield from reader.to_table(group).cast(types).to_batches()

    return pa.RecordBatchReader.from_batches(types, batches())


def _aggregate(rows: pa.RecordBatchReader, query: AggregateQuery) -> pa.Table:
    groups = [f'"{name}"' for name in query.group_by]
    if query.time_bucket is not None:
        width = int(query.time_bucket.total_seconds())
        groups.insert(0, f'time_bucket(INTERVAL {width} SECONDS, "{query.table.event_time}") AS "{BUCKET}"')
    measures = [f'{measure.sql} AS "{measure.name}"' for measure in query.measures]
    positions = ", ".join(str(position + 1) for position in range(len(groups)))
    grouped = f"GROUP BY {positions} ORDER BY {positions}" if groups else ""
    # every name comes from the contract, and every number from a parser: nothing of the request is in here
    sql = f"SELECT {', '.join([*groups, *measures])} FROM rows {grouped} LIMIT {query.limit + 1}"  # noqa: S608
    with duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "threads": 1}) as connection:
        connection.register("rows", rows)
        try:
            with interrupted_by_deadline(connection.interrupt):
                found: pa.Table = connection.sql(sql).to_arrow_table()
        except duckdb.OutOfMemoryException as error:
            raise TooManyGroupsError from error
        except duckdb.ConversionException as error:
            raise SumTooLargeError from error
    return _in_utc(found)


def _in_utc(rows: pa.Table) -> pa.Table:
    """Give back the zone that went so that DuckDB need not know about any."""
    for position, field in enumerate(rows.schema):
        if pa.types.is_timestamp(field.type):
            column = rows[position].cast(pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC"))
            rows = rows.set_column(position, field.name, column)
    return rows
