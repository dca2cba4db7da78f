"""What a guard has seen: the checkpoints of Flink that lie behind a snapshot."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

from commit_guard.decision import FlinkCheckpoint, FlinkSnapshot, ancestry, flink_summary

CAPACITY = 1000
"""Snapshots remembered: far more than there are tables that Flink writes to."""


class Ancestries:
    """Remembers, for snapshots that were heads of a branch, the newest checkpoint of each operator behind them.

    A snapshot and what is behind it never change, so what is remembered stays true, also beside other guards. It
    says nothing about where a branch is now: only a commit that the catalog ties to the snapshot may rest on it.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._newest: OrderedDict[int, tuple[FlinkCheckpoint, ...]] = OrderedDict()

    def lacks(self, head: int | None, checkpoint: FlinkCheckpoint) -> bool:
        """Whether it is known that the rows of ``checkpoint`` are not behind ``head``."""
        behind = self._behind(head)
        return behind is not None and not any(written.holds(checkpoint) for written in behind)

    def learn(self, head: int | None, metadata: Mapping[str, Any]) -> None:
        """Remember what ``metadata`` says of ``head``, unless it is known."""
        if head is not None and head not in self._newest:
            written = (flink_summary(snapshot) for snapshot in ancestry(metadata, head))
            self._remember(head, (checkpoint for checkpoint in written if checkpoint is not None))

    def extend(self, snapshot: FlinkSnapshot) -> None:
        """Remember a snapshot that the catalog has taken, if what is behind its parent is known."""
        behind = self._behind(snapshot.parent_id)
        if behind is not None:
            self._remember(snapshot.snapshot_id, (*behind, snapshot.checkpoint))

    def _behind(self, head: int | None) -> tuple[FlinkCheckpoint, ...] | None:
        return () if head is None else self._newest.get(head)

    def _remember(self, head: int, checkpoints: Iterable[FlinkCheckpoint]) -> None:
        newest: dict[tuple[str, str | None], FlinkCheckpoint] = {}
        for checkpoint in checkpoints:
            operator = (checkpoint.job_id, checkpoint.operator_id)
            if operator not in newest or checkpoint.holds(newest[operator]):
                newest[operator] = checkpoint
        self._newest[head] = tuple(newest.values())
        if len(self._newest) > self._capacity:
            self._newest.popitem(last=False)
