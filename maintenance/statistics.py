"""Statistics of a table: how many values each of its columns has, as Theta sketches in a Puffin file."""

from pydantic import BaseModel
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot

from contracts import Table

DISTINCT = "ndv"
"""Property of a sketch with its estimate: Puffin's specification, blob type ``apache-datasketches-theta-v1``."""


class TableStatistics(BaseModel):
    """Statistics that were computed: their file, the snapshot that they describe, distinct values by column."""

    file: str
    snapshot_id: int
    distinct: dict[str, int]
    """An estimate: from about four thousand values on it is a few per cent off."""


def columns_with_statistics(declared: Table) -> list[str]:
    """The columns that rows of a table are found and joined by: its key, and what it is sorted by."""
    return list(dict.fromkeys((*declared.key, *declared.sort_order)))


def newest_with_statistics(table: IcebergTable) -> Snapshot | None:
    """The newest snapshot of ``table`` that has statistics; those of expired snapshots went with them."""
    described = {statistics.snapshot_id for statistics in table.metadata.statistics}
    snapshots = (each for each in table.metadata.snapshots if each.snapshot_id in described)
    return max(snapshots, key=lambda snapshot: snapshot.timestamp_ms, default=None)


def read_statistics(table: IcebergTable, file: str) -> TableStatistics | None:
    """What the metadata of ``table`` says of the statistics in ``file``; none where others took their place."""
    for statistics in table.metadata.statistics:
        if statistics.statistics_path == file:
            distinct = {
                table.schema().find_column_name(blob.fields[0]) or "": int(blob.properties[DISTINCT])
                for blob in statistics.blob_metadata
                if blob.properties is not None and DISTINCT in blob.properties
            }
            return TableStatistics(file=file, snapshot_id=statistics.snapshot_id, distinct=distinct)
    return None
