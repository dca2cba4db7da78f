"""The windows of a stream held against their recomputation from bronze, over the last that are closed.

Each table commits a checkpoint on its own, a moment before or after the others. So the windows are those that
stood there ``SETTLING`` before the snapshot of bronze that is read, and that one is older than the late events by
as much.
"""

from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot

from contracts import Family, Table, bronze_events, families, late_events
from resources.freshness import newest_event_time_in
from resources.window_recomputation import (
    PLACE,
    WindowDifference,
    differing_windows,
    event_columns_of,
    load_events,
    slide_of,
)

SPAN = timedelta(hours=3)
"""How far back windows are compared; six times the interval of the schedule, so that none is missed."""
MAX_EVENTS = 1_000_000
"""Where the span holds more, fewer minutes are compared: the newest."""
SETTLING = timedelta(minutes=1)
"""How long after the commit of one table the others have that checkpoint too."""
MEMORY_LIMIT = "1GB"


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Windows between ``since`` and ``until`` that were compared, how many events of bronze they are made of."""

    since: datetime
    until: datetime
    windows: int
    events: int
    differences: tuple[WindowDifference, ...]


def reconcile(catalog: Catalog, family: Family, declared: Table, now: datetime) -> Reconciled | None:
    """Compare the closed windows of ``declared`` with bronze; ``None`` where none is closed yet.

    Raises:
        OSError: the object store does not answer.
        ValueError: the table is none of windows.
    """
    windows = catalog.load_table(declared.identifier)
    bronze = catalog.load_table(bronze_events(family).identifier)
    closed, read = _as_of(windows, now - 2 * SETTLING), _as_of(bronze, now - SETTLING)
    newest = None if closed is None else newest_event_time_in(windows, closed, declared)
    if newest is None or read is None:
        return None
    until = newest + (declared.tile or timedelta(0))
    since = _since(windows, declared, newest, until)
    of_events = f"event_time >= '{since.isoformat()}' and event_time < '{until.isoformat()}'"
    events = bronze.scan(of_events, event_columns_of(declared), snapshot_id=read.snapshot_id).to_arrow()
    late = catalog.load_table(late_events(families()).identifier).scan(
        f"family == '{family.name}' and {of_events}", PLACE
    )
    found = windows.scan(_windows_between(since, until)).to_arrow()
    with closing(duckdb.connect()) as database:
        database.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
        load_events(database, bronze=events, late=late.to_arrow())
        differences = differing_windows(database, declared, found, since, until)
    return Reconciled(since, until, found.num_rows, events.num_rows, tuple(differences))


def _since(windows: IcebergTable, declared: Table, newest: datetime, until: datetime) -> datetime:
    """Start of the first window such that those from there on hold ``MAX_EVENTS`` at most, or are one minute's."""
    counted = windows.scan(_windows_between(until - SPAN, until), ("window_start", "event_count")).to_arrow()
    by_start = counted.group_by("window_start").aggregate([("event_count", "sum")])
    by_start = by_start.sort_by([("window_start", "descending")])
    # an event is in as many windows as start within the length of one
    times = (declared.tile or timedelta(0)) // slide_of(declared)
    fits = pc.less_equal(pc.cumulative_sum(by_start["event_count_sum"]), MAX_EVENTS * times)
    starts: list[datetime] = by_start.filter(fits)["window_start"].to_pylist()
    return until - SPAN if len(starts) == by_start.num_rows else min(starts, default=newest)


def _windows_between(since: datetime, until: datetime) -> str:
    return f"window_start >= '{since.isoformat()}' and window_end <= '{until.isoformat()}'"


def _as_of(table: IcebergTable, moment: datetime) -> Snapshot | None:
    return table.snapshot_as_of_timestamp(int(moment.astimezone(UTC).timestamp() * 1000))
