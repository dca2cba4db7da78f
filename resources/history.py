"""The history of an Iceberg table: its snapshots, who wrote each, and which of them readers see."""

from datetime import datetime

from pydantic import BaseModel
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.refs import SnapshotRefType
from pyiceberg.table.snapshots import Snapshot, ancestors_of

from contracts import LakehouseError
from resources.offsets import operation
from resources.snapshots import (
    FLINK_JOB,
    RUN_PROPERTY,
    checkpoint_of,
    committed_at,
    summary_of,
    watermark_of,
)

ENGINE = "engine-name"
"""Key that Iceberg's Java library puts into the summary of a snapshot."""


class UnknownSnapshotError(LakehouseError):
    """A snapshot that is asked for was expired, or never was."""


class WrittenBy(BaseModel):
    """Who committed a snapshot, as far as it says so: a Flink job at a checkpoint, a batch run, or an engine."""

    job_id: str | None
    checkpoint_id: int | None
    run_id: str | None
    engine: str | None


class HistoryEntry(BaseModel):
    """One snapshot; rows are as its writer noted them, ``None`` where it did not.

    A snapshot that only rewrites files (``replace``) counts the same rows as added and as deleted.
    """

    snapshot_id: str
    parent_id: str | None
    committed_at: datetime
    operation: str
    added_rows: int
    deleted_rows: int
    total_rows: int | None
    written_by: WrittenBy
    watermark: datetime | None
    branches: list[str]
    tags: list[str]
    in_main: bool
    """Whether ``main`` points at it or at one that came from it."""


def history(table: IcebergTable, *, limit: int) -> list[HistoryEntry]:
    """The newest ``limit`` snapshots of ``table`` that are retained, newest first, those of branches too."""
    in_main = {snapshot.snapshot_id for snapshot in ancestors_of(table.current_snapshot(), table.metadata)}
    newest = sorted(table.snapshots(), key=lambda s: (s.sequence_number or 0, s.timestamp_ms), reverse=True)
    return [_entry(table, snapshot, in_main=snapshot.snapshot_id in in_main) for snapshot in newest[:limit]]


def find_snapshot(table: IcebergTable, name: str) -> Snapshot:
    """The snapshot of ``table`` with an id, or that a branch or tag points at.

    Raises:
        UnknownSnapshotError: there is none.
    """
    found = table.snapshot_by_name(name)
    if found is None and name.isdecimal():
        found = table.snapshot_by_id(int(name))
    if found is None:
        identifier = ".".join(table.name())
        raise UnknownSnapshotError(
            f"{identifier} has no snapshot, branch or tag {name!r}: it was expired, or never was; "
            f"`./lakehouse table {identifier} history` lists what there is"
        )
    return found


def _entry(table: IcebergTable, snapshot: Snapshot, *, in_main: bool) -> HistoryEntry:
    said = summary_of(snapshot)
    total = said.get("total-records")
    return HistoryEntry(
        snapshot_id=str(snapshot.snapshot_id),
        parent_id=None if snapshot.parent_snapshot_id is None else str(snapshot.parent_snapshot_id),
        committed_at=committed_at(snapshot),
        operation=operation(snapshot).value,
        added_rows=int(said.get("added-records", "0")),
        deleted_rows=int(said.get("deleted-records", "0")),
        total_rows=None if total is None else int(total),
        written_by=WrittenBy(
            job_id=said.get(FLINK_JOB),
            checkpoint_id=checkpoint_of(snapshot),
            run_id=said.get(RUN_PROPERTY),
            engine=said.get(ENGINE),
        ),
        watermark=watermark_of(snapshot),
        branches=_refs(table, snapshot, SnapshotRefType.BRANCH),
        tags=_refs(table, snapshot, SnapshotRefType.TAG),
        in_main=in_main,
    )


def _refs(table: IcebergTable, snapshot: Snapshot, kind: SnapshotRefType) -> list[str]:
    return sorted(
        name
        for name, ref in table.metadata.refs.items()
        if ref.snapshot_id == snapshot.snapshot_id and ref.snapshot_ref_type is kind
    )
