"""What holds after a scenario: every acknowledged event once, the equation of windows, silver equal to bronze."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pyarrow as pa
from pyiceberg.catalog import Catalog

from contracts import Table, bronze_events, dead_letters, families, late_events, silver_1m, silver_5m
from resources.catalog import open_catalog
from resources.hot_view import connect, document, reading_key
from settings import Settings
from stack.chaos.load import LATE_BY, Published
from stack.chaos.recompute import Recomputation, Tables, recomputation

SHOWN = 3
"""Examples of a kind of violation that are written out."""
HOT_VIEW_BATCH = 1000
PLACE = ("kafka_partition", "kafka_offset")


@dataclass(slots=True)
class Findings:
    """What was found of one family; ``problems`` is empty where all holds."""

    acknowledged: int
    rows: int
    dead_letters: int
    missing: int
    doubled: int
    late: int
    duplicates: int
    windows: int
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Arrived:
    """How much of what was published is in bronze and in the dead letters."""

    acknowledged: int
    rows: int
    distinct: int
    dead_letters: int

    @property
    def missing(self) -> int:
        """Records that are in neither."""
        return self.acknowledged - self.distinct - self.dead_letters


def arrived(catalog: Catalog, published: Published) -> Arrived:
    """Count what has arrived by now; only places are read."""
    tables = _tables(catalog, published, ("event_id", "event_time", *PLACE))
    with recomputation(tables) as bronze:
        return Arrived(published.acknowledged, *bronze.counts(published.first_offsets))


def check(catalog: Catalog, published: Published) -> Findings:
    """Hold the tables of one family against what was published and against each other."""
    family = published.family
    windows = [(table, _windows(catalog, table, published)) for table in (silver_1m(family), silver_5m(family))]
    # after the windows: what these count is then there
    tables = _tables(catalog, published, ("*",))
    with recomputation(tables) as bronze:
        rows, distinct, dead = bronze.counts(published.first_offsets)
        late = _late_of(tables.late, published)
        findings = Findings(
            acknowledged=published.acknowledged,
            rows=rows,
            dead_letters=dead,
            missing=max(published.acknowledged - distinct - dead, 0),
            doubled=rows - distinct,
            late=late,
            duplicates=published.duplicates,
            windows=sum(found.num_rows for _, found in windows),
        )
        findings.problems += _count_problems(published, findings, bronze)
        for table, found in windows:
            findings.problems += _window_problems(bronze, table, found, published)
    return findings


def hot_view_problems(settings: Settings, published: Published) -> list[str]:
    """Sensors whose newest event in bronze is not their reading in the hot view."""
    tables = _tables(open_catalog(settings), published, ("sensor_id", "event_id", "event_time", *PLACE))
    with recomputation(tables) as bronze:
        newest = bronze.newest_readings()
    sensors = list(newest)
    shown: dict[str, str] = {}
    with connect(settings) as client:
        for begin in range(0, len(sensors), HOT_VIEW_BATCH):
            batch = sensors[begin : begin + HOT_VIEW_BATCH]
            entries = client.mget([reading_key(published.family.name, sensor) for sensor in batch])
            for sensor, entry in zip(batch, entries, strict=True):
                shown[sensor] = "nothing" if entry is None else json.loads(document(entry))["event_id"]
    differing = [
        f"{sensor} shows {shown[sensor]}, its newest event is {event}"
        for sensor, event in newest.items()
        if shown[sensor] != event
    ]
    return _problem("sensors show another reading in the hot view", differing)


def _tables(catalog: Catalog, published: Published, columns: Sequence[str]) -> Tables:
    family = published.family
    of_interval = _between("event_time", published.since, published.until)
    late = catalog.load_table(late_events(families()).identifier).scan(
        f"family == '{family.name}' and {of_interval}", selected_fields=("event_time", *PLACE)
    )
    letters = catalog.load_table(dead_letters(families()).identifier).scan(
        f"topic == '{family.topic}'", selected_fields=("error_class", *PLACE)
    )
    bronze = catalog.load_table(bronze_events(family).identifier).scan(of_interval, selected_fields=tuple(columns))
    return Tables(bronze=bronze.to_arrow(), late=late.to_arrow(), dead_letters=letters.to_arrow())


def _windows(catalog: Catalog, table: Table, published: Published) -> pa.Table:
    condition = _between("window_start", published.since, published.until)
    return catalog.load_table(table.identifier).scan(condition).to_arrow()


def _between(column: str, since: datetime, until: datetime) -> str:
    return f"{column} >= '{since.isoformat()}' and {column} < '{until.isoformat()}'"


def _late_of(late: pa.Table, published: Published) -> int:
    places = zip(late["kafka_partition"].to_pylist(), late["kafka_offset"].to_pylist(), strict=True)
    return sum(offset >= published.first_offsets[partition] for partition, offset in places)


def _count_problems(published: Published, findings: Findings, bronze: Recomputation) -> list[str]:
    problems = []
    if findings.missing:
        problems.append(f"{findings.missing:,} acknowledged records are in no table")
    if findings.doubled:
        problems.append(f"{findings.doubled:,} rows of bronze stand twice")
    if findings.dead_letters != published.invalid:
        problems.append(
            f"{findings.dead_letters:,} dead letters, {published.invalid:,} records are no valid event"
        )
    found = bronze.minutes(published.first_offsets)
    differing = [
        f"{minute} has {found.get(minute, 0)} rows, {published.minutes.get(minute, 0)} were acknowledged"
        for minute in sorted({*found, *published.minutes})
        if found.get(minute, 0) != published.minutes.get(minute, 0)
    ]
    return problems + _problem("minutes of bronze differ from the ledger", differing)


def _window_problems(bronze: Recomputation, table: Table, found: pa.Table, published: Published) -> list[str]:
    # all that a window of the first minutes is made of must lie in what was read
    since = (published.since + LATE_BY).replace(second=0, microsecond=0)
    ends = found["window_end"].to_pylist()
    until: datetime = max(ends, default=since)
    problems = []
    if published.closed_until is not None and until < published.closed_until:
        problems.append(f"{table.identifier} is closed up to {until:%H:%M}, not {published.closed_until:%H:%M}")
    differing = bronze.differing_windows(table, found, since, until)
    problems += _problem(f"windows of {table.identifier} differ from their recomputation", differing)
    if table.tile == timedelta(minutes=1):
        minutes = bronze.unaccounted(found, since, until)
        problems += _problem("minutes whose events are not all accounted for", [str(entry) for entry in minutes])
    return problems


def _problem(what: str, examples: Sequence[str]) -> list[str]:
    if not examples:
        return []
    more = "" if len(examples) <= SHOWN else ", ..."
    return [f"{len(examples):,} {what}: {'; '.join(examples[:SHOWN])}{more}"]
