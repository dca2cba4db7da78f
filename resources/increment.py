"""The rows that snapshots appended after a position in the history of a table, whole snapshots at a time."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate, takewhile

import pyarrow as pa
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Operation, Snapshot, ancestors_of

from resources.offsets import follows, operation
from resources.snapshots import summary_of


@dataclass(frozen=True, slots=True)
class Increment:
    """Rows that were appended after a position, and what of them had to be left out.

    ``snapshots`` are those that ``rows`` come from, oldest first. ``reached`` is the sequence number after which
    the next increment begins. ``waiting`` rows are in that one; ``left_out`` rows are in none, because they are
    too many, and neither are those of ``expired`` commits, which is how many have been expired since the position.
    """

    rows: pa.Table
    snapshots: tuple[Snapshot, ...]
    reached: int
    waiting: int = 0
    left_out: int = 0
    expired: int = 0


def increment(table: IcebergTable, *, after: int, limit: int, newest: bool = False) -> Increment:
    """At most ``limit`` of the rows that were appended after sequence number ``after``.

    Rows that compaction has rewritten come once, from the files that they were appended in. Where there are more,
    they are those of the oldest snapshots, so that the rest comes next; with ``newest`` those of the newest, and
    the rest never comes. A snapshot that holds more by itself is read up to the limit.
    """
    newer = _newer(table, after)
    appended = [snapshot for snapshot in newer if _appended_rows(snapshot)]
    if not appended:
        reached = newer[-1].sequence_number or after if newer else after
        return Increment(
            table.schema().as_arrow().empty_table(), (), reached, expired=_expired(table, newer, after)
        )
    chosen = _first_up_to(limit, reversed(appended) if newest else appended)
    chosen.sort(key=lambda snapshot: snapshot.sequence_number or 0)
    held = sum(map(_appended_rows, chosen))
    others = sum(map(_appended_rows, appended)) - held
    too_many = max(0, held - limit)
    last = newer[-1] if newest or not others else chosen[-1]
    # the scan takes a start that was expired, as long as the next snapshot names it as its parent
    rows = table.incremental_append_scan(
        from_snapshot_id_exclusive=chosen[0].parent_snapshot_id,
        to_snapshot_id_inclusive=chosen[-1].snapshot_id,
        limit=limit,
    ).to_arrow()
    return Increment(
        rows=rows,
        snapshots=tuple(chosen),
        reached=last.sequence_number or 0,
        waiting=0 if newest else others,
        left_out=too_many + (others if newest else 0),
        expired=_expired(table, newer, after),
    )


def has_increment(table: IcebergTable, *, after: int) -> bool:
    """Whether rows were appended after sequence number ``after``; compaction and empty commits bring none."""
    return any(map(_appended_rows, _newer(table, after)))


def _newer(table: IcebergTable, after: int) -> list[Snapshot]:
    """The retained snapshots with a sequence number above ``after``, oldest first."""
    history = ancestors_of(table.current_snapshot(), table.metadata)
    return list(takewhile(lambda snapshot: (snapshot.sequence_number or 0) > after, history))[::-1]


def _appended_rows(snapshot: Snapshot) -> int:
    if operation(snapshot) is not Operation.APPEND:
        return 0
    return int(summary_of(snapshot).get("added-records", "0"))


def _first_up_to(limit: int, snapshots: Iterable[Snapshot]) -> list[Snapshot]:
    """As many of ``snapshots`` from the first on as hold ``limit`` rows together; at least one."""
    ordered = list(snapshots)
    fitting = sum(rows <= limit for rows in accumulate(map(_appended_rows, ordered)))
    return ordered[: max(1, fitting)]


def _expired(table: IcebergTable, newer: list[Snapshot], after: int) -> int:
    """How many commits between ``after`` and the oldest of ``newer`` were expired; sequence numbers are dense."""
    if not newer or follows(table, newer[0], after):
        return 0
    return (newer[0].sequence_number or 0) - after - 1
