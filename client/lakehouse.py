"""The client: one method for each question that the API answers."""

import json
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote

import httpx
import pyarrow as pa

from client.errors import NotReachableError
from client.http import Requests
from client.models import TableQuality, TableState, Windows

ARROW = "application/vnd.apache.arrow.stream"
TIMEOUT_S = 60.0
ATTEMPTS = 5
PAGE_ROWS = 10_000
NONE = "none"
"""What the API writes for the snapshot of a table without one."""

Kind = Literal["reading", "zone", "reset"]
KINDS: Mapping[str, Kind] = {"reading": "reading", "zone": "zone", "reset": "reset"}

Value = str | bool | int | float | datetime
Filter = Mapping[str, Value | Sequence[Value]]
"""``{"zone": "harbour", "avg_speed_kmh__lt": 20}``: a column, alone or with ``__`` and an operator. Several values
are for ``__in``, or for a column alone, which then is one of them."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, and the snapshot that they are from; ``None`` while the table has none."""

    rows: pa.Table
    snapshot_id: int | None


@dataclass(frozen=True, slots=True)
class Change:
    """A value that has just changed: a ``reading`` of a sensor, or the totals so far of a ``zone`` and minute.

    A ``reset`` comes where some changes before it are missing: read what is the latest again.
    """

    kind: Kind
    value: Mapping[str, Any]
    id: str


class Lakehouse:
    """A connection to one API; use it as a context manager, or close it.

    Every method raises :class:`client.ApiError` where the API refuses, and :class:`client.NotReachableError` where
    it does not answer. What may be better later (no connection, 429, 503) is tried again first.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout_s: float = TIMEOUT_S,
        attempts: int = ATTEMPTS,
        page_rows: int = PAGE_ROWS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Make a client; nothing is connected before the first question.

        Args:
            url: where the API is, as ``http://127.0.0.1:8000``.
            key: a key of it, as ``./lakehouse keys create`` shows it, or an access token of the issuer that the
                installation accepts.
            timeout_s: seconds without a byte after which a try has failed.
            attempts: how often a request is sent at most.
            page_rows: rows that one answer brings, at most what the API allows (``LAKEHOUSE_API_MAX_ROWS``).
            transport: how requests travel; by default by HTTP.
        """
        self._page_rows = page_rows
        self._requests = Requests(url, key, timeout_s=timeout_s, attempts=attempts, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connections."""
        self._requests.close()

    def tables(self) -> list[TableState]:
        """The tables that the key is for."""
        answer = self._requests.get("/v1/tables").json()
        return [TableState.model_validate(table) for table in answer["tables"]]

    def rows(
        self,
        table: str,
        *,
        where: Filter | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        columns: Sequence[str] = (),
        order: Sequence[str] = (),
        limit: int | None = None,
        as_of: int | str | datetime | None = None,
    ) -> pa.Table:
        """All rows that match, or the first ``limit`` of them, from one snapshot.

        Args:
            table: as ``gold.traffic_hourly``.
            where: filters, which all must hold.
            since: earliest event time of the table, inclusive.
            until: end of the event time, exclusive.
            columns: which, in this order; all if left out.
            order: columns to sort by, ``-column`` downwards; by the table's event time if left out.
            limit: most rows.
            as_of: read the table as it was: id of a snapshot, instant, or tag.
        """
        pages: list[pa.Table] = []
        wanted = limit
        for page in self.pages(
            table,
            where=where,
            since=since,
            until=until,
            columns=columns,
            order=order,
            as_of=as_of,
            page_rows=self._page_rows if limit is None else min(limit, self._page_rows),
        ):
            pages.append(page.rows if wanted is None else page.rows.slice(0, wanted))
            if wanted is not None and (wanted := wanted - len(pages[-1])) <= 0:
                break
        return pa.concat_tables(pages)

    def pages(
        self,
        table: str,
        *,
        where: Filter | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        columns: Sequence[str] = (),
        order: Sequence[str] = (),
        as_of: int | str | datetime | None = None,
        page_rows: int | None = None,
    ) -> Iterator[Page]:
        """As :meth:`rows`, a page at a time: for more rows than fit in memory. There is at least one page."""
        asked = [
            ("order", ",".join(order) or self._event_time(table)),
            ("limit", str(page_rows or self._page_rows)),
            *_parameters(where, since, until, as_of),
        ]
        if columns:
            asked.append(("columns", ",".join(columns)))
        cursor: str | None = None
        while True:
            sent = asked if cursor is None else [*asked, ("cursor", cursor)]
            answer = self._requests.get(f"/v1/tables/{table}/rows", sent, accept=ARROW)
            snapshot = answer.headers["Lakehouse-Snapshot-Id"]
            rows = pa.ipc.open_stream(answer.content).read_all()
            yield Page(rows, None if snapshot == NONE else int(snapshot))
            cursor = answer.headers.get("Lakehouse-Next-Cursor")
            if cursor is None:
                return

    def aggregate(
        self,
        table: str,
        measures: Sequence[str] = ("count",),
        *,
        group_by: Sequence[str] = (),
        time_bucket: str | None = None,
        where: Filter | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        as_of: int | str | datetime | None = None,
    ) -> pa.Table:
        """One row for each bucket of time and combination of the groups; one of all without either.

        Args:
            table: as ``gold.traffic_hourly``.
            measures: ``count``, or ``count``, ``sum``, ``min``, ``max``, ``avg``, ``last`` or a quantile such as
                ``p95`` of a column: ``avg(avg_speed_kmh_mean)``.
            group_by: columns.
            time_bucket: width of buckets of the table's event time, as ``15m``, ``1h``, ``1d``.
            where: filters, which all must hold.
            since: earliest event time of the table, inclusive.
            until: end of the event time, exclusive.
            as_of: read the table as it was: id of a snapshot, instant, or tag.
        """
        sent = [("measures", ",".join(measures)), *_parameters(where, since, until, as_of)]
        if group_by:
            sent.append(("group_by", ",".join(group_by)))
        if time_bucket is not None:
            sent.append(("time_bucket", time_bucket))
        answer = self._requests.get(f"/v1/tables/{table}/aggregate", sent, accept=ARROW)
        return pa.ipc.open_stream(answer.content).read_all()

    def quality(self, *, days: int = 7) -> list[TableQuality]:
        """What the checks of each table have said in the last ``days`` days."""
        answer = self._requests.get("/v1/quality", [("days", str(days))]).json()
        return [TableQuality.model_validate(table) for table in answer["tables"]]

    def latest_of_sensor(self, family: str, sensor_id: str) -> dict[str, Any]:
        """The newest reading of a sensor; a sensor that is silent or unknown is an :class:`ApiError` with 404."""
        path = f"/v1/{family}/sensors/{quote(sensor_id, safe='')}/latest"
        reading: dict[str, Any] = self._requests.get(path).json()
        return reading

    def latest(self, family: str, *, zone: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """The newest readings of all sensors of a family, or of one of its zones, by zone and sensor."""
        sent = [("limit", str(limit)), *(() if zone is None else (("zone", zone),))]
        readings: list[dict[str, Any]] = self._requests.get(f"/v1/{family}/latest", sent).json()["readings"]
        return readings

    def windows(
        self,
        family: str,
        *,
        zone: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
    ) -> Windows:
        """Five-minute windows of the zones, finished and running, of the last hour or from ``since`` on."""
        sent = [
            ("limit", str(limit)),
            *_parameters({"zone": zone} if zone is not None else None, since, until, None),
        ]
        return Windows.model_validate(self._requests.get(f"/v1/{family}/windows", sent).json())

    def changes(
        self, family: str, *, zone: str | None = None, sensor_id: str | None = None, after: str | None = None
    ) -> Generator[Change]:
        """Each change as it comes, until the iterator is closed or the stream ends, which is an error.

        Args:
            family: of sensors.
            zone: only of this one.
            sensor_id: only of this sensor.
            after: id of the last change that was seen before: go on after it, some seconds later at the most.
        """
        chosen = {"zone": zone, "sensor_id": sensor_id, "last_event_id": after}
        sent = [(name, value) for name, value in chosen.items() if value is not None]
        with self._requests.stream(f"/v1/{family}/stream", sent) as answer:
            yield from _changes(answer.iter_lines())
        raise NotReachableError(f"the stream of {family} has ended")

    def _event_time(self, table: str) -> str:
        event_time: str = self._requests.get(f"/v1/tables/{table}").json()["event_time"]
        return event_time


def _parameters(
    where: Filter | None, since: datetime | None, until: datetime | None, as_of: int | str | datetime | None
) -> list[tuple[str, str]]:
    sent = [_filter(name, value) for name, value in (where or {}).items()]
    given = {"from": since, "to": until, "as_of": as_of}
    return [*sent, *((name, _text(value)) for name, value in given.items() if value is not None)]


def _filter(name: str, value: Value | Sequence[Value]) -> tuple[str, str]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return name, _text(value)
    texts = [_text(each) for each in value]
    if broken := [text for text in texts if "," in text]:
        raise ValueError(f"{name}: {broken[0]!r} has a comma, which separates values: ask for it alone")
    return name if "__" in name else f"{name}__in", ",".join(texts)


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone: write for example value.replace(tzinfo=datetime.UTC)")
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        raise TypeError(f"{value!r} is a day: write the instant that is meant, with its time zone")
    return str(value)


def _changes(lines: Iterable[str]) -> Iterator[Change]:
    """Read server-sent events (WHATWG HTML, section 9.2.6), as far as the API uses them."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, text = line.partition(": ")
        if line:
            fields[name] = text
        elif "data" in fields:
            value = json.loads(fields["data"])
            if fields["event"] not in KINDS:
                raise NotReachableError(str(value["detail"]))
            yield Change(KINDS[fields["event"]], value, fields["id"])
            fields = {}
        else:
            fields = {}
