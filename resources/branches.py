"""Branches of Iceberg tables: what is written to one is read by nobody until it is published.

Write-audit-publish as in the Iceberg specification's "Snapshot references": a branch begins at the state of
``main``, and publishing moves ``main`` to its end.
"""

from datetime import timedelta

import pyarrow as pa
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.snapshots import Snapshot, ancestors_of
from pyiceberg.table.update import (
    AssertRefSnapshotId,
    AssertTableUUID,
    RemoveSnapshotRefUpdate,
    SetSnapshotRefUpdate,
)

from contracts import LakehouseError

KEPT = timedelta(days=7)
"""How long a branch that is not published stays to be looked at; expiry of snapshots removes it afterwards."""


class BranchError(LakehouseError):
    """A branch is not there, or cannot be published."""


def create_branch(table: IcebergTable, name: str) -> None:
    """Begin a branch at the current state of ``table``; one of that name is begun anew."""
    if name in table.metadata.refs:
        table.manage_snapshots().remove_branch(name).commit()
    if table.current_snapshot() is None:
        # a branch begins at a snapshot, and a new table has none
        table.append(pa.Table.from_pylist([], schema=table.schema().as_arrow()))
    head = _main(table)
    age_ms = int(KEPT.total_seconds() * 1000)
    table.manage_snapshots().create_branch(head.snapshot_id, name, max_ref_age_ms=age_ms).commit()


def branch_head(table: IcebergTable, name: str) -> Snapshot:
    """The newest snapshot of a branch.

    Raises:
        BranchError: there is no such branch.
    """
    head = table.snapshot_by_name(name)
    if head is None or name == MAIN_BRANCH:
        others = sorted(ref for ref in table.metadata.refs if ref != MAIN_BRANCH)
        raise BranchError(
            f"{'.'.join(table.name())} has no branch {name!r} to publish: "
            + (f"it has {', '.join(others)}" if others else "it has none, so that all is published or expired")
        )
    return head


def publish(table: IcebergTable, name: str) -> Snapshot:
    """Move ``main`` to the end of a branch and remove the branch, in one commit; returns the new current snapshot.

    Raises:
        BranchError: there is no such branch, or ``main`` has moved since it began: what was written there does not
            know what another has published meanwhile.
    """
    table.refresh()
    head, main = branch_head(table, name), _main(table)
    if _beginning(table, head) != main.snapshot_id:
        raise _moved(table, name)
    try:
        table.catalog.commit_table(
            table,
            requirements=(
                AssertTableUUID(uuid=table.metadata.table_uuid),
                AssertRefSnapshotId(ref=MAIN_BRANCH, snapshot_id=main.snapshot_id),
                AssertRefSnapshotId(ref=name, snapshot_id=head.snapshot_id),
            ),
            updates=(
                SetSnapshotRefUpdate(
                    ref_name=MAIN_BRANCH,
                    type=SnapshotRefType.BRANCH,
                    snapshot_id=head.snapshot_id,
                    max_ref_age_ms=None,
                    max_snapshot_age_ms=None,
                    min_snapshots_to_keep=None,
                ),
                RemoveSnapshotRefUpdate(ref_name=name),
            ),
        )
    except CommitFailedException as error:
        raise _moved(table, name) from error
    table.refresh()
    return head


def _beginning(table: IcebergTable, head: Snapshot) -> int | None:
    """Where ``main`` was when the branch that ends with ``head`` began.

    It may have been rolled back since, to another snapshot that the branch came from.
    """
    heads_of_main = {entry.snapshot_id for entry in table.history()}
    ancestors = (snapshot.snapshot_id for snapshot in ancestors_of(head, table.metadata))
    return next((snapshot_id for snapshot_id in ancestors if snapshot_id in heads_of_main), None)


def _main(table: IcebergTable) -> Snapshot:
    head = table.current_snapshot()
    if head is None:
        raise BranchError(f"{'.'.join(table.name())} is empty")
    return head


def _moved(table: IcebergTable, name: str) -> BranchError:
    return BranchError(
        f"{'.'.join(table.name())} was changed since branch {name!r} began, by another run, maintenance or a "
        "rollback: publishing would undo that; run again"
    )
