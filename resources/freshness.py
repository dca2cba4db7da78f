"""How far the events of a table reach, read from metadata: a backfill of old days does not make it look fresh."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from pyiceberg.conversions import from_bytes
from pyiceberg.manifest import ManifestFile
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.types import DateType, TimestamptzType

from contracts import Table

EPOCH = datetime.fromtimestamp(0, UTC)
UNKNOWN_DAY = 1_000_000
"""Later than any: a manifest that does not say what it lists is looked at."""


class Staleness(StrEnum):
    """How the age of the newest event compares with the freshness that the contract asks for."""

    FRESH = "fresh"
    LATE = "late"
    STALE = "stale"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class Reach:
    """Up to when a table holds what happened; ``lag`` is how long ago that is, never negative."""

    reaches: datetime | None
    lag: timedelta | None
    staleness: Staleness


def reach(table: IcebergTable, declared: Table, now: datetime) -> Reach:
    """How far the events of ``table`` reach at ``now``; a row of a window reaches to the window's end.

    Reads the manifests of the newest days only, and no data file. Blocks.

    Raises:
        OSError: the object store does not answer.
    """
    return reach_at(newest_event_time(table, declared), declared, now)


def reach_at(newest: datetime | None, declared: Table, now: datetime) -> Reach:
    """How far a table whose greatest event time is ``newest`` reaches at ``now``."""
    if newest is None:
        return Reach(None, None, Staleness.EMPTY)
    reaches = min(newest + (declared.tile or timedelta(0)), max(now, newest))
    lag = max(now - reaches, timedelta(0))
    if lag > declared.freshness.fail_after:
        return Reach(reaches, lag, Staleness.STALE)
    return Reach(reaches, lag, Staleness.LATE if lag > declared.freshness.warn_after else Staleness.FRESH)


def newest_event_time(table: IcebergTable, declared: Table) -> datetime | None:
    """The greatest event time in the current snapshot, ``None`` if it has no rows.

    Raises:
        OSError: the object store does not answer.
    """
    snapshot = table.current_snapshot()
    return None if snapshot is None else newest_event_time_in(table, snapshot, declared)


def newest_event_time_in(
    table: IcebergTable,
    snapshot: Snapshot,
    declared: Table,
    manifests: Iterable[ManifestFile] | None = None,
) -> datetime | None:
    """The greatest event time in ``snapshot``, ``None`` if it has no rows.

    Who has its ``manifests`` already, gives them.

    Raises:
        OSError: the object store does not answer.
    """
    column = table.schema().find_field(declared.event_time).field_id
    newest: datetime | None = None
    listed = snapshot.manifests(table.io) if manifests is None else manifests
    for manifest in sorted(listed, key=_last_day, reverse=True):
        if newest is not None and EPOCH + timedelta(days=_last_day(manifest) + 1) <= newest:
            break
        for entry in manifest.fetch_manifest_entry(table.io):
            bound = (entry.data_file.upper_bounds or {}).get(column)
            if bound is not None:
                # single-value serialization of the Iceberg specification, appendix D
                greatest = EPOCH + timedelta(microseconds=int(from_bytes(TimestamptzType(), bound)))
                newest = greatest if newest is None else max(newest, greatest)
    return newest


def _last_day(manifest: ManifestFile) -> int:
    """Last day, counted from 1970-01-01, that the manifest lists files of."""
    fields = manifest.partitions or []
    if not fields or fields[0].upper_bound is None:
        return UNKNOWN_DAY
    return int(from_bytes(DateType(), fields[0].upper_bound))
