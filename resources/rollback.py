"""Rollback of batch tables: ``main`` points at an earlier snapshot again, in one commit."""

from itertools import takewhile

from pydantic import BaseModel
from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import Snapshot, ancestors_of

from contracts import BATCH_WRITERS, LakehouseError, Table


class RollbackError(LakehouseError):
    """A table cannot be rolled back, or not to that snapshot; nothing was changed."""


class RollbackUnknownError(LakehouseError):
    """The catalog did not say whether it has rolled a table back."""


class Rollback(BaseModel):
    """What a rollback does: where ``main`` was and is, and the snapshots it takes back, newest first.

    ``branches`` build on what is taken back, so that they cannot be published any more.
    """

    table: str
    was: str
    now: str
    undone: list[str]
    branches: list[str]


def refuse_streams(declared: Table) -> None:
    """Only what a batch has written can be taken back.

    Raises:
        RollbackError: a stream writes the table: what it has written it will not write again, since it goes on
            from the offsets that it has reached.
    """
    if declared.writer in BATCH_WRITERS:
        return
    raise RollbackError(
        f"{declared.identifier} is written by a stream ({declared.writer}) that goes on from the offsets it has "
        "reached: what a rollback takes away would be lost, or come twice after a restart. Iceberg clients read "
        "it as it was by naming a snapshot; `./lakehouse audit --repair` removes a doubled commit; `./lakehouse "
        "jobs` shows where each job goes on"
    )


def plan_rollback(table: IcebergTable, declared: Table, target: Snapshot) -> Rollback:
    """What :func:`roll_back` would do to ``table`` as it is loaded.

    Raises:
        RollbackError: a stream writes the table, or ``target`` is where ``main`` is, or ``main`` did not come
            from it.
    """
    refuse_streams(declared)
    newest_first = list(ancestors_of(table.current_snapshot(), table.metadata))
    if target.snapshot_id not in {snapshot.snapshot_id for snapshot in newest_first}:
        raise RollbackError(
            f"main of {declared.identifier} did not come from snapshot {target.snapshot_id}, which is on a branch "
            f"or was rolled back: `./lakehouse table {declared.identifier} history` shows those that are in main"
        )
    undone = list(takewhile(lambda snapshot: snapshot.snapshot_id != target.snapshot_id, newest_first))
    if not undone:
        raise RollbackError(
            f"main of {declared.identifier} is at snapshot {target.snapshot_id} already: name an earlier one"
        )
    return Rollback(
        table=declared.identifier,
        was=str(newest_first[0].snapshot_id),
        now=str(target.snapshot_id),
        undone=[str(snapshot.snapshot_id) for snapshot in undone],
        branches=_branches_on(table, {snapshot.snapshot_id for snapshot in undone}),
    )


def roll_back(table: IcebergTable, declared: Table, target: Snapshot) -> Rollback:
    """Let ``main`` point at ``target`` again, unless it has moved since ``table`` was loaded.

    Snapshots that are taken back stay readable by their id until they expire.

    Raises:
        RollbackError: as :func:`plan_rollback` does, or another has committed meanwhile.
        RollbackUnknownError: the answer of the catalog was lost.
    """
    planned = plan_rollback(table, declared, target)
    try:
        # asserts that main is where the loaded metadata has it, and is not tried again
        table.manage_snapshots().rollback_to_snapshot(target.snapshot_id).commit()
    except CommitFailedException as error:
        raise RollbackError(
            f"{declared.identifier} was changed meanwhile, by a run or by maintenance: nothing was rolled back; "
            f"see what came with `./lakehouse table {declared.identifier} history`"
        ) from error
    except CommitStateUnknownException as error:
        raise RollbackUnknownError(
            f"the catalog did not say whether it rolled {declared.identifier} back: "
            f"see where main is with `./lakehouse table {declared.identifier} history`"
        ) from error
    return planned


def _branches_on(table: IcebergTable, snapshot_ids: set[int]) -> list[str]:
    return sorted(
        name
        for name in table.metadata.refs
        if name != MAIN_BRANCH
        and not snapshot_ids.isdisjoint(
            snapshot.snapshot_id for snapshot in ancestors_of(table.snapshot_by_name(name), table.metadata)
        )
    )
