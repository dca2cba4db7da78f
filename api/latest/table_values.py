"""Live values while Redis is away: the newest that the tables hold, some seconds older and marked so."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from api.caching.byte_cache import ByteCache
from api.caching.caches import Caches
from api.caching.metrics import Counted
from api.caching.source import Source
from api.catalog import CatalogReader
from api.latest.age import age
from api.latest.query import newest_first
from api.rows.filters import Operator, compare
from api.tables.states import TableStates, utc_now
from contracts import Family, Table, bronze_events, silver_5m
from contracts.quality import Verdict
from resources.arrow_times import without_zones

if TYPE_CHECKING:
    from api.latest.newest import Newest

READING_ORDER = ("event_time", "kafka_offset", "kafka_partition")
"""Of two readings of a sensor the one that is greater in these is the newer, in the hot view as well."""
WINDOW_ORDER = ("window_start",)
KEPT_BYTES = 32 << 20
"""Memory of one process for what was read, each of one snapshot."""
ENTRY_BYTES = 512
"""Memory that one takes beside its rows."""

Read = Callable[[Source], "Newest"]


@dataclass(frozen=True, slots=True)
class TableReading:
    """A sensor's newest row, ``None`` where there is none that is not stale, and what is known of its snapshot."""

    row: dict[str, Any] | None
    snapshot_id: str | None
    quality: Verdict | None


class TableValues:
    """Reads the newest values from the tables, once for each snapshot; belongs to one event loop."""

    def __init__(self, reader: CatalogReader, states: TableStates, caches: Caches, counted: Counted) -> None:
        self._reader = reader
        self._states = states
        self._caches = caches
        self._kept: ByteCache[str, Newest] = ByteCache(KEPT_BYTES, size=_size, counted=counted)

    async def reading(self, family: Family, sensor_id: str) -> TableReading:
        """The newest reading of a sensor.

        Raises:
            UnavailableError: the catalog or the object store does not answer, or has no such table yet.
        """
        # PyIceberg's reader imports pandas: a second that the start of the service need not wait for
        from api.latest.newest import Newest
        from api.rows.service import matching_rows

        declared = bronze_events(family)
        since = utc_now() - family.stale_after
        filters = (compare("sensor_id", Operator.EQ, sensor_id), compare(declared.event_time, Operator.GE, since))
        query = newest_first(declared, filters, order=READING_ORDER, limit=1)

        def read(source: Source) -> Newest:
            return Newest(matching_rows(source, query).slice(0, 1).select(query.columns), since)

        newest, snapshot_id = await self._of_newest_snapshot(declared, sensor_id, read)
        found = _as_json(_not_before(newest.rows, declared.event_time, since))
        quality = await self._states.verdict(declared.identifier)
        return TableReading(found[0] if found else None, snapshot_id, quality)

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
            "quality": await self._states.verdict(bronze_events(family).identifier),
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

    async def _of_newest_snapshot(
        self, declared: Table, of: str | None, read: Read
    ) -> tuple["Newest", str | None]:
        table = await self._reader.table(declared.identifier)
        snapshot = table.current_snapshot()
        name = self._caches.name(table, snapshot, "newest", declared.identifier, *(() if of is None else (of,)))
        found = self._kept.get(name)
        if found is None:
            load = partial(self._reader.read, partial(read, self._caches.source(table, snapshot)))
            found = await self._caches.flights.fly(name, load)
            self._kept.put(name, found)
        return found, None if snapshot is None else str(snapshot.snapshot_id)


def _size(newest: "Newest") -> int:
    return ENTRY_BYTES + int(newest.rows.nbytes)


def _not_before(rows: pa.Table, column: str, since: datetime) -> pa.Table:
    return rows.filter(pc.greater_equal(rows[column], pa.scalar(since)))


def _by_zone(rows: pa.Table, *others: str) -> pa.Table:
    """In the order of the hot view, where a sensor without a zone comes first."""
    keys = pa.table({"zone": pc.fill_null(rows["zone"], ""), **{name: rows[name] for name in others}})
    return rows.take(pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.column_names]))


def _as_json(rows: pa.Table) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = without_zones(rows).to_pylist()
    return found
