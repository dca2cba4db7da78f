"""Counts the rows of a run in each layer, read by PyIceberg and, for the API, over HTTP."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

import httpx
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog

from contracts import Table
from settings import Settings
from sources.ledger import Ledger

API_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Interval:
    """Half-open interval of time, in UTC."""

    start: datetime
    end: datetime

    def on(self, column: str) -> str:
        """PyIceberg filter that keeps the rows whose ``column`` lies in the interval."""
        return f"{column} >= '{self.start.isoformat()}' and {column} < '{self.end.isoformat()}'"


def minutes_of(ledger: Ledger) -> Interval:
    """The minutes that the events of the run lie in."""
    minutes = sorted(_minute(text) for text in ledger.events_by_minute)
    return Interval(minutes[0], minutes[-1] + timedelta(minutes=1))


def days_of(ledger: Ledger) -> Interval:
    """The whole days, in UTC, that the events of the run lie in."""
    minutes = minutes_of(ledger)
    last = minutes.end - timedelta(minutes=1)
    return Interval(
        datetime.combine(minutes.start.date(), time(), UTC),
        datetime.combine(last.date() + timedelta(days=1), time(), UTC),
    )


def events_before(ledger: Ledger, end: datetime) -> int:
    """Acknowledged events of the run in minutes that begin before ``end``."""
    return sum(count for text, count in ledger.events_by_minute.items() if _minute(text) < end)


def rows_of_run(catalog: Catalog, bronze: Table, ledger: Ledger) -> int:
    """Rows of the bronze table with an offset that the ledger has as acknowledged."""
    ranges = " or ".join(
        f"(kafka_partition = {partition} and kafka_offset >= {acknowledged.first_offset}"
        f" and kafka_offset <= {acknowledged.last_offset})"
        for partition, acknowledged in ledger.partitions.items()
    )
    table = catalog.load_table(bronze.identifier)
    return table.scan(row_filter=ranges, selected_fields=("kafka_offset",)).count()


def distinct_events(catalog: Catalog, bronze: Table, interval: Interval) -> int:
    """Distinct ``event_id`` of the bronze table in the interval."""
    scan = catalog.load_table(bronze.identifier).scan(
        row_filter=interval.on(bronze.event_time), selected_fields=("event_id",)
    )
    return int(pc.count_distinct(scan.to_arrow()["event_id"]).as_py())


def windows_and_events(catalog: Catalog, windows: Table, interval: Interval) -> tuple[int, int]:
    """Rows of a table of windows that start in the interval, and the events they count."""
    scan = catalog.load_table(windows.identifier).scan(
        row_filter=interval.on("window_start"), selected_fields=("event_count",)
    )
    counts = scan.to_arrow()["event_count"]
    return len(counts), int(pc.sum(counts).as_py() or 0)


def newest_event_time(catalog: Catalog, bronze: Table) -> datetime | None:
    """Newest event time in the bronze table, from the upper bounds of its files."""
    table = catalog.load_table(bronze.identifier)
    column = table.schema().find_field(bronze.event_time)
    # single-value serialization of the Iceberg specification, appendix D: microseconds, little-endian
    bounds = [
        int.from_bytes(task.file.upper_bounds[column.field_id], "little", signed=True)
        for task in table.scan().plan_files()
    ]
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=max(bounds)) if bounds else None


def api_rows(settings: Settings, table: Table, interval: Interval) -> int:
    """Rows that the API returns for the interval; halved where one answer cannot hold them."""
    found = _rows_of_one_answer(settings, table, interval)
    if found < settings.api_max_rows:
        return found
    middle = interval.start + (interval.end - interval.start) / 2
    halves = (Interval(interval.start, middle), Interval(middle, interval.end))
    return sum(api_rows(settings, table, half) for half in halves)


def _rows_of_one_answer(settings: Settings, table: Table, interval: Interval) -> int:
    response = httpx.get(
        f"{settings.api_url}/v1/tables/{table.identifier}/rows",
        params={
            "from": interval.start.isoformat(),
            "to": interval.end.isoformat(),
            "columns": ",".join(table.key),
            "limit": settings.api_max_rows,
        },
        headers={"X-API-Key": settings.api_key.get_secret_value()},
        timeout=API_TIMEOUT_S,
    )
    response.raise_for_status()
    return len(response.json()["rows"])


def _minute(text: str) -> datetime:
    return datetime.fromisoformat(text)
