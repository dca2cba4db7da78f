"""What the snapshots of a table say of themselves: who committed twice, and how many rows there should be."""

from collections import defaultdict
from collections.abc import Sequence

import orjson
from pydantic import BaseModel
from pyiceberg.manifest import ManifestContent
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Operation, Snapshot, ancestors_of

from audit.report import DuplicateCheckpoint
from resources.offsets import follows, operation
from resources.snapshots import FLINK_CHECKPOINT, summary_of

REPAIR = "lakehouse.repair"
"""Key in the summary of a snapshot that removed doubled rows; its value is a :class:`RepairMark`."""


class RepairMark(BaseModel):
    """What a repair did: rows that it removed, and the snapshots that had brought them a second time."""

    removed_records: int
    snapshot_ids: list[str]


def history(table: IcebergTable, until: Snapshot) -> list[Snapshot]:
    """The retained ancestors of ``until`` and itself, oldest first."""
    return list(reversed(list(ancestors_of(until, table.metadata))))


def repair_mark(snapshot: Snapshot) -> RepairMark | None:
    """What the snapshot repaired, if it is a repair."""
    mark = summary_of(snapshot).get(REPAIR)
    return None if mark is None else RepairMark.model_validate(orjson.loads(mark))


def duplicate_checkpoints(snapshots: Sequence[Snapshot]) -> list[DuplicateCheckpoint]:
    """Checkpoints that more than one snapshot claims, oldest first, unless a repair took the later ones out."""
    repaired = {id_ for s in snapshots if (mark := repair_mark(s)) is not None for id_ in mark.snapshot_ids}
    claims: dict[tuple[str, str, int], list[str]] = defaultdict(list)
    for snapshot in snapshots:
        said = summary_of(snapshot)
        if FLINK_CHECKPOINT in said:
            claim = (said.get("flink.job-id", ""), said.get("flink.operator-id", ""), int(said[FLINK_CHECKPOINT]))
            claims[claim].append(str(snapshot.snapshot_id))
    return [
        DuplicateCheckpoint(job_id=job, operator_id=operator, checkpoint_id=checkpoint, snapshot_ids=ids)
        for (job, operator, checkpoint), ids in claims.items()
        if any(id_ not in repaired for id_ in ids[1:])
    ]


def live_rows(table: IcebergTable, snapshot: Snapshot) -> int:
    """Rows that the manifests list at ``snapshot``."""
    return sum(
        (manifest.added_rows_count or 0) + (manifest.existing_rows_count or 0)
        for manifest in snapshot.manifests(table.io)
        if manifest.content == ManifestContent.DATA
    )


def rows_by_summaries(table: IcebergTable, snapshots: Sequence[Snapshot]) -> int:
    """Rows that there should be after ``snapshots`` by what each says that it added and removed.

    Where older snapshots were expired, the rows of the oldest one left are the beginning.
    """
    oldest = snapshots[0]
    if not follows(table, oldest, 0):
        return live_rows(table, oldest) + sum(map(net_records, snapshots[1:]))
    return sum(map(net_records, snapshots))


def net_records(snapshot: Snapshot) -> int:
    """Rows by which the table grew, as the snapshot has it."""
    if (mark := repair_mark(snapshot)) is not None:
        # the totals that PyIceberg notes count a file that was listed twice as one
        return -mark.removed_records
    if operation(snapshot) is Operation.REPLACE:
        return 0  # by its definition: the same rows in other files
    said = summary_of(snapshot)
    return int(said.get("added-records", "0")) - int(said.get("deleted-records", "0"))
