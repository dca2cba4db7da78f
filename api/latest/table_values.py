"""Live values while Redis is away: the newest that the tables hold, some seconds older and marked so."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from api.caching.caches import Caches
from api.caching.source import Source
from api.catalog import CatalogReader
from api.latest.age import age
from api.latest.query import newest_first
from api.rows.filters import Operator, compare
from api.shared import Shared
from api.tables.states import utc_now
from contracts import Family, Table, bronze_events, silver_5m
from resources.arrow_times import without_zones

READING_ORDER = ("event_time", "kafka_offset", "kafka_partition")
"""Of two readings of a sensor the one that is greater in these is the newer, in the hot view as well."""
WINDOW_ORDER = ("window_start",)
MOST_KEPT = 1_024
"""Answers that are kept, each of one snapshot."""

Read = Callable[[Source], Any]


@dataclass(frozen=True, slots=True)
class TableReading:
    """A sensor's newest row, ``None`` where there is none that is not stale, and the snapshot it is from."""

    row: dict[str, Any] | None
    snapshot_id: str | None


class TableValues:
    """Reads the newest values from the tables, once for each snapshot; belongs to one event loop."""

    def __init__(self, reader: CatalogReader, caches: Caches) -> None:
        self._reader = reader
        self._caches = caches
        self._kept: OrderedDict[tuple[str, int | None, str | None], Shared[Any]] = OrderedDict()

    async def reading(self, family: Family, sensor_id: str) -> TableReading:
        """The newest reading of a sensor.

        Raises:
            UnavailableError: the catalog or the object store does not answer, or has no such table yet.
        """
        # PyIceberg's reader imports pandas: a second that the start of the service need not wait for
        from api.rows.service import matching_rows

        declared = bronze_events(family)
        since = utc_now() - family.stale_after
        filters = (compare("sensor_id", Operator.EQ, sensor_id), compare(declared.event_time, Operator.GE, since))
        query = newest_first(declared, filters, order=READING_ORDER, limit=1)

        def read(source: Source) -> pa.Table:
            return matching_rows(source, query).slice(0, 1).select(query.columns)

        rows, snapshot_id = await self._of_newest_snapshot(declared, sensor_id, read)
        found = _as_json(_not_before(rows, declared.event_time, since))
        return TableReading(found[0] if found else None, snapshot_id)

    async def latest_of_family(self, family: Family, *, zone: str | None, limit: int) -> dict[str, Any]:
        """Return readings by zone and sensor, and the newest window of the zone or of each, as one envelope.

        Raises:
            UnavailableError: the catalog or the object store does not answer, or has no such table yet.
        """
        since = utc_now() - family.stale_after
        readings, covered, snapshot_id = await self._newest(
            bronze_events(family), "sensor_id", READING_ORDER, since
        )
        length = silver_5m(family).tile or timedelta(0)
        windows, _, _ = await self._newest(silver_5m(family), "zone", WINDOW_ORDER, since - length)
        windows = windows.filter(pc.is_valid(windows["zone"]))
        if zone is not None:
            readings, windows = (rows.filter(pc.equal(rows["zone"], zone)) for rows in (readings, windows))
        shown = _by_zone(readings, "sensor_id").slice(0, limit)
        return {
            "family": family.name,
            "zone": zone,
            "source": "table",
            "snapshot_id": snapshot_id,
            **age(pc.max(shown["event_time"]).as_py()),
            "since": covered,
            "reading_count": shown.num_rows,
            "has_more": readings.num_rows > limit,
            "zones": [window | {"newest_event": None} for window in _as_json(_by_zone(windows))],
            "readings": _as_json(shown),
        }

    async def _newest(
        self, declared: Table, by: str, order: tuple[str, ...], since: datetime
    ) -> tuple[pa.Table, datetime, str | None]:
        """The newest row of each, after when none is missing, and the snapshot."""
        # as above
        from api.latest.newest import newest_of_each

        read = partial(newest_of_each, declared=declared, by=by, order=order, since=since)
        found, snapshot_id = await self._of_newest_snapshot(declared, None, read)
        since = max(since, found.since)
        return _not_before(found.rows, declared.event_time, since), since, snapshot_id

    async def _of_newest_snapshot(self, declared: Table, of: str | None, read: Read) -> tuple[Any, str | None]:
        table = await self._reader.table(declared.identifier)
        snapshot = table.current_snapshot()
        snapshot_id = None if snapshot is None else snapshot.snapshot_id
        key = declared.identifier, snapshot_id, of
        if key not in self._kept:
            load: Callable[[], Awaitable[Any]] = partial(
                self._reader.read, partial(read, self._caches.source(table, snapshot))
            )
            self._kept[key] = Shared(load, keep_s=float("inf"))
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return await self._kept[key].get(), None if snapshot_id is None else str(snapshot_id)


def _not_before(rows: pa.Table, column: str, since: datetime) -> pa.Table:
    return rows.filter(pc.greater_equal(rows[column], pa.scalar(since)))


def _by_zone(rows: pa.Table, *others: str) -> pa.Table:
    """In the order of the hot view, where a sensor without a zone comes first."""
    keys = pa.table({"zone": pc.fill_null(rows["zone"], ""), **{name: rows[name] for name in others}})
    return rows.take(pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.column_names]))


def _as_json(rows: pa.Table) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = without_zones(rows).to_pylist()
    return found
