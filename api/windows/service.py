"""Joins the finished windows of a family's zones with those that still run.

All windows that end at the same instant are written at once, when the watermark passes it, and are in the table
from the same checkpoint on: what ends after the latest end in a snapshot, its boundary, is not in that snapshot.
So the boundary divides table and hot view, and no window comes from both.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from api.caching.caches import Caches
from api.caching.source import Source
from api.catalog import CatalogReader
from api.headers import Fields
from api.latest.age import SOURCE_FIELD
from api.latest.query import newest_first
from api.latest.reader import HotViewReader, HotViewUnavailableError
from api.latest.service import minutes_of_zones
from api.latest.window import Minutes, window_ending
from api.rows.answers import REVALIDATE
from api.rows.dependencies import RowQuery
from api.rows.filters import Operator, compare
from api.tables.states import TableStates, snapshot_header
from contracts import Family, Table, silver_5m
from resources.arrow_times import without_zones
from resources.hot_view import NEWEST_MINUTE_FOR

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class WindowsQuery:
    """Windows that begin in ``[since, until)``, the newest first; of all zones where ``zone`` is ``None``."""

    zone: str | None
    since: datetime
    until: datetime | None
    limit: int


async def find_windows(
    reader: CatalogReader,
    caches: Caches,
    states: TableStates,
    hot_view: HotViewReader,
    *,
    family: Family,
    query: WindowsQuery,
) -> tuple[dict[str, Any], Fields]:
    """Answer ``query`` with an envelope and its headers; without Redis with the finished windows alone.

    Raises:
        UnavailableError: the catalog or the object store does not answer, or has no such table yet.
    """
    declared = silver_5m(family)
    table = await reader.table(declared.identifier)
    snapshot = table.current_snapshot()
    newest = await states.newest(table, declared, snapshot)
    boundary = None if newest is None else newest + (declared.tile or timedelta(0))
    asked = map(str, ("windows", query.zone is None, query.zone, query.since, query.until, query.limit))

    async def read() -> list[dict[str, Any]]:
        return await reader.read(lambda: _finished(caches.source(table, snapshot), declared, query))

    finished = await caches.flights.fly(caches.name(table, snapshot, *asked), read)
    # every minute of a window that ends later is still in the hot view
    covered_after = _minute(datetime.now(UTC)) - NEWEST_MINUTE_FOR + MINUTE
    live_after = covered_after if boundary is None else max(boundary, covered_after)
    running: list[dict[str, Any]] = []
    live = True
    try:
        of_zones = await hot_view.read(partial(minutes_of_zones, family=family, zone=query.zone))
        for minutes in of_zones:
            running += _running(family, minutes, live_after, query)
    except HotViewUnavailableError:
        live = False
    running.sort(key=lambda window: window["zone"])
    running.sort(key=lambda window: window["window_start"], reverse=True)
    rows = [*running, *finished]
    state = await states.state(table, declared, snapshot)
    snapshot_id = None if snapshot is None else str(snapshot.snapshot_id)
    envelope = {
        "family": family.name,
        "snapshot_id": snapshot_id,
        **state.fields,
        "boundary": boundary,
        "live": live,
        "live_after": live_after if live else None,
        "row_count": min(len(rows), query.limit),
        "has_more": len(rows) > query.limit,
        "rows": rows[: query.limit],
    }
    headers = [
        snapshot_header(snapshot_id),
        (b"cache-control", REVALIDATE),
        (SOURCE_FIELD, b"table, live" if live else b"table"),
        *state.headers,
    ]
    return envelope, headers


def _finished(source: Source, declared: Table, query: WindowsQuery) -> list[dict[str, Any]]:
    """The windows in the table, one more than the limit if there are as many."""
    # PyIceberg's reader imports pandas: a second that the start of the service need not wait for
    from api.rows.service import matching_rows

    rows = matching_rows(source, _row_query(declared, query))
    shown = without_zones(rows.select([column.name for column in declared.columns]))
    return [row | {"newest_event": None, "source": "table"} for row in shown.to_pylist()]


def _row_query(declared: Table, query: WindowsQuery) -> RowQuery:
    filters = [compare(declared.event_time, Operator.GE, query.since)]
    if query.until is not None:
        filters.append(compare(declared.event_time, Operator.LT, query.until))
    if query.zone is not None:
        filters.append(compare("zone", Operator.EQ, query.zone))
    return newest_first(declared, filters, order=(declared.event_time,), then=("zone",), limit=query.limit)


def _running(family: Family, minutes: Minutes, after: datetime, query: WindowsQuery) -> list[dict[str, Any]]:
    """Windows of one zone that end after ``after``, up to the one that ends with its newest minute."""
    found = []
    end = max(minutes, default=after - MINUTE) + MINUTE
    while end > after:
        window = window_ending(family, minutes, end)
        if window is not None and _is_asked_for(datetime.fromisoformat(window["window_start"]), query):
            found.append(window | {"source": "live"})
        end -= MINUTE
    return found


def _is_asked_for(start: datetime, query: WindowsQuery) -> bool:
    return query.since <= start and (query.until is None or start < query.until)


def _minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)
