"""Which snapshot a query reads: the newest, one that ``as_of`` names, or the one that its cursor is pinned to."""

import re
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.refs import SnapshotRefType
from pyiceberg.table.snapshots import Snapshot

from api.problems import ProblemError
from api.rows.filters import parse_instant

TAG = re.compile(r"[A-Za-z][\w.-]{0,127}", re.ASCII)


class NoSuchSnapshotError(ProblemError):
    """``as_of`` names a snapshot that the table does not have, or has no more."""

    def __init__(self, detail: str) -> None:
        super().__init__(HTTPStatus.NOT_FOUND, f"as_of: {detail}")


class CursorExpiredError(ProblemError):
    """The snapshot that a cursor is pinned to was expired by maintenance."""

    def __init__(self, snapshot_id: int) -> None:
        super().__init__(
            HTTPStatus.CONFLICT,
            f"the snapshot {snapshot_id} that this cursor reads was expired: start again without a cursor",
        )


@dataclass(frozen=True, slots=True)
class AsOf:
    """A snapshot by its id, by the instant at which it was the newest, or by a tag; one of them is set."""

    snapshot_id: int | None = None
    instant: datetime | None = None
    tag: str | None = None


def parse_as_of(text: str) -> AsOf:
    """Read the parameter ``as_of``.

    Raises:
        ValueError: it is none of the three; the message says what is.
    """
    if text.isdecimal() and text.isascii() and len(text) < 20:
        return AsOf(snapshot_id=int(text))
    if TAG.fullmatch(text):
        return AsOf(tag=text)
    try:
        return AsOf(instant=parse_instant(text))
    except ValueError as error:
        raise ValueError(
            f"{text[:80]!r} is neither the id of a snapshot, nor an instant like 2026-03-01T08:00:00Z, nor a tag"
        ) from error


def snapshot_of(table: IcebergTable, as_of: AsOf | None, cursor_snapshot: int | None) -> Snapshot | None:
    """The snapshot to read, ``None`` while nothing was written.

    A snapshot that only a branch points at is not published, and not readable here.

    Raises:
        CursorExpiredError: the cursor's snapshot is gone.
        NoSuchSnapshotError: ``as_of`` names none.
    """
    if cursor_snapshot is not None:
        pinned = _published(table, cursor_snapshot)
        if pinned is None:
            raise CursorExpiredError(cursor_snapshot)
        return pinned
    if as_of is None:
        return table.current_snapshot()
    if as_of.snapshot_id is not None:
        return _found(_published(table, as_of.snapshot_id), f"there is no snapshot {as_of.snapshot_id}")
    if as_of.instant is not None:
        if table.current_snapshot() is None:
            return None
        at = table.snapshot_as_of_timestamp(int(as_of.instant.timestamp() * 1000))
        return _found(at, f"no snapshot is as old as {as_of.instant.isoformat()}")
    tag = table.refs().get(as_of.tag or "")
    if tag is None or tag.snapshot_ref_type != SnapshotRefType.TAG:
        tags = [name for name, ref in table.refs().items() if ref.snapshot_ref_type == SnapshotRefType.TAG]
        raise NoSuchSnapshotError(f"there is no tag {as_of.tag!r}; tags are: {', '.join(tags) or 'none'}")
    return table.snapshot_by_id(tag.snapshot_id)


def _found(snapshot: Snapshot | None, missing: str) -> Snapshot:
    if snapshot is None:
        raise NoSuchSnapshotError(f"{missing}: it was expired, or never was")
    return snapshot


def _published(table: IcebergTable, snapshot_id: int) -> Snapshot | None:
    """The snapshot if it was, at some time, what readers of the table saw."""
    if all(entry.snapshot_id != snapshot_id for entry in table.history()):
        return None
    return table.snapshot_by_id(snapshot_id)
