"""From contracts and catalog to the descriptions of tables."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime

from pyiceberg.table import Table as IcebergTable

from api.catalog import CatalogReader, CatalogUnavailableError, TableNotCreatedError
from api.tables.schemas import (
    AggregationInfo,
    ColumnInfo,
    FreshnessInfo,
    PartitionInfo,
    ReachInfo,
    SnapshotInfo,
    TableDetail,
    TableInfo,
    TableList,
    TableSummary,
)
from api.tables.states import TableStates
from contracts import Column, Table
from resources.freshness import Reach
from resources.snapshots import summary_of


async def list_tables(tables: Iterable[Table], reader: CatalogReader, states: TableStates) -> TableList:
    """Describe all ``tables``, with the state of those that the catalog could be asked about."""
    declared = tuple(tables)
    loads = await asyncio.gather(*(reader.table(table.identifier) for table in declared), return_exceptions=True)
    summaries = []
    for table, load in zip(declared, loads, strict=True):
        if isinstance(load, BaseException) and not isinstance(
            load, CatalogUnavailableError | TableNotCreatedError
        ):
            raise load
        summaries.append(_summary(table, None if isinstance(load, BaseException) else load, states))
    return TableList(
        catalog_reachable=not any(isinstance(load, CatalogUnavailableError) for load in loads),
        tables=await asyncio.gather(*summaries),
    )


async def describe_table(table: Table, reader: CatalogReader, states: TableStates) -> TableDetail:
    """Describe ``table`` in full.

    Raises:
        UnavailableError: the catalog does not answer or does not have the table yet.
    """
    loaded = await reader.table(table.identifier)
    return TableDetail(
        **dict(_table_info(table)),
        writer=table.writer,
        tile_s=None if table.tile is None else table.tile.total_seconds(),
        derived_from=list(table.derived_from),
        partitioning=[
            PartitionInfo(column=field.column, transform=field.transform) for field in table.partitioning
        ],
        sort_order=list(table.sort_order),
        snapshot=snapshot_info(loaded),
        reach=_reach_info(await states.reach(loaded, table, loaded.current_snapshot())),
        quality=await states.verdict(table.identifier),
        properties=loaded.properties,
    )


def snapshot_info(table: IcebergTable) -> SnapshotInfo:
    """Summarise the current snapshot of ``table``."""
    snapshot = table.current_snapshot()
    if snapshot is None:
        return SnapshotInfo(
            snapshot_id=None, committed_at=None, operation=None, row_count=0, data_file_count=0, size_bytes=0
        )
    summary = summary_of(snapshot)
    return SnapshotInfo(
        snapshot_id=str(snapshot.snapshot_id),
        committed_at=datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC),
        operation=snapshot.summary.operation.value if snapshot.summary else None,
        row_count=int(summary.get("total-records", 0)),
        data_file_count=int(summary.get("total-data-files", 0)),
        size_bytes=int(summary.get("total-files-size", 0)),
    )


async def _summary(declared: Table, loaded: IcebergTable | None, states: TableStates) -> TableSummary:
    snapshot = None if loaded is None else snapshot_info(loaded)
    state = None if loaded is None else await states.state(loaded, declared, loaded.current_snapshot())
    return TableSummary(
        **dict(_table_info(declared)),
        row_count=snapshot and snapshot.row_count,
        snapshot_id=snapshot and snapshot.snapshot_id,
        committed_at=snapshot and snapshot.committed_at,
        reach=None if state is None or state.reach is None else _reach_info(state.reach),
        quality=state and state.verdict,
    )


def _reach_info(found: Reach) -> ReachInfo:
    return ReachInfo(
        reaches=found.reaches,
        lag_s=None if found.lag is None else found.lag.total_seconds(),
        staleness=found.staleness,
    )


def _table_info(table: Table) -> TableInfo:
    return TableInfo(
        identifier=table.identifier,
        layer=table.layer,
        family=table.family,
        description=table.description,
        owners=list(table.owners),
        key=list(table.key),
        event_time=table.event_time,
        freshness=FreshnessInfo(
            warn_after_s=table.freshness.warn_after.total_seconds(),
            fail_after_s=table.freshness.fail_after.total_seconds(),
        ),
        columns=[_column_info(column) for column in table.columns],
    )


def _column_info(column: Column) -> ColumnInfo:
    origin = column.aggregation
    return ColumnInfo(
        name=column.name,
        type=column.type,
        meaning=column.meaning,
        unit=column.unit,
        nullable=column.nullable,
        minimum=column.minimum,
        maximum=column.maximum,
        aggregation=None if origin is None else AggregationInfo(function=origin.function, column=origin.column),
    )
