"""The rule: whether a table may take a snapshot of Flink, from the table's metadata alone."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

MAIN = "main"
"""The branch that Iceberg writes to where none is named."""


@dataclass(frozen=True, slots=True)
class FlinkCheckpoint:
    """Whose checkpoint a snapshot holds, as Iceberg's Flink sinks write it into the summary.

    ``operator_id`` is ``None`` in snapshots of sinks older than Iceberg 1.2.
    """

    job_id: str
    operator_id: str | None
    checkpoint_id: int

    def holds(self, other: "FlinkCheckpoint") -> bool:
        """Whether the rows of ``other`` are in the table once this one is.

        As in Iceberg's ``SinkUtil.getMaxCommittedCheckpointId``, a snapshot without operator is any operator's.
        """
        return (
            self.job_id == other.job_id
            and self.operator_id in {None, other.operator_id}
            and self.checkpoint_id >= other.checkpoint_id
        )


@dataclass(frozen=True, slots=True)
class FlinkSnapshot:
    """A snapshot that a commit adds, its parent (``None`` for a first one) and the branch that it goes to."""

    snapshot_id: int
    parent_id: int | None
    branch: str
    checkpoint: FlinkCheckpoint


@dataclass(frozen=True, slots=True)
class Forward:
    """The table does not have it; ``head`` is the branch's snapshot, ``None`` where the branch has none."""

    head: int | None


@dataclass(frozen=True, slots=True)
class Repeated:
    """The very snapshot is in the branch: the commit took place, only its answer was lost."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Snapshot ``holder`` of the branch has the checkpoint's rows, it holds all up to ``checkpoint_id``."""

    holder: int
    checkpoint_id: int


Decision: TypeAlias = Forward | Repeated | Refused


def flink_summary(snapshot: Mapping[str, Any]) -> FlinkCheckpoint | None:
    """Return the checkpoint that a snapshot (as the Iceberg spec has it) holds, ``None`` if it is not Flink's."""
    summary = snapshot.get("summary") or {}
    try:
        checkpoint_id = int(summary["flink.max-committed-checkpoint-id"])
        return FlinkCheckpoint(summary["flink.job-id"], summary.get("flink.operator-id"), checkpoint_id)
    except (KeyError, TypeError, ValueError):
        return None


def head_of(metadata: Mapping[str, Any], branch: str) -> int | None:
    """Return the snapshot that ``branch`` is at, ``None`` where it has none."""
    reference = metadata.get("refs", {}).get(branch)
    if reference is not None:
        return int(reference["snapshot-id"])
    if branch == MAIN and metadata.get("current-snapshot-id") not in {None, -1}:  # metadata from before branches
        return int(metadata["current-snapshot-id"])
    return None


def ancestry(metadata: Mapping[str, Any], head: int | None) -> Iterator[Mapping[str, Any]]:
    """Yield the retained snapshots from ``head`` back along their parents; what has expired ends it."""
    remaining = {snapshot["snapshot-id"]: snapshot for snapshot in metadata.get("snapshots") or ()}
    # taken out as they are met, so that even a broken chain of parents ends
    while head is not None and (snapshot := remaining.pop(head, None)) is not None:
        yield snapshot
        head = snapshot.get("parent-snapshot-id")


def decide(metadata: Mapping[str, Any], incoming: FlinkSnapshot) -> Decision:
    """Decide on a snapshot, given the metadata (of the Iceberg spec) that the table has now."""
    head = head_of(metadata, incoming.branch)
    holder: Refused | None = None
    for snapshot in ancestry(metadata, head):
        if snapshot["snapshot-id"] == incoming.snapshot_id:
            return Repeated()
        written = flink_summary(snapshot)
        if holder is None and written is not None and written.holds(incoming.checkpoint):
            holder = Refused(snapshot["snapshot-id"], written.checkpoint_id)
    return holder or Forward(head)
