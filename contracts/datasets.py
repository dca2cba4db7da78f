"""What is no table, but stands before or behind tables: Kafka topics, hot views in Redis, answers of the API."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from contracts.model import Column, ColumnType, Family, Freshness, Table
from contracts.quality import quality_results
from contracts.tables import KAFKA_COLUMNS, RECORD_COLUMNS, bronze_events, event_columns, lower_first, silver_5m

LIST_ROUTE = "/v1/tables"
TABLE_ROUTE = "/v1/tables/{identifier}"
"""Routes that are about each table that is served."""

NEWEST_EVENT = Column("newest_event", ColumnType.TIMESTAMP, "Event time of the newest event that is counted")


class DatasetKind(StrEnum):
    """What a dataset is; also the first part of its identifier."""

    TOPIC = "topic"
    HOT_VIEW = "hot_view"
    API = "api"


@dataclass(frozen=True, slots=True)
class Dataset:
    """Something that tables are derived from, or that is derived from tables.

    ``derived_from`` holds identifiers of tables and of other datasets. ``routes`` are those of the API that answer
    with it, as in its OpenAPI document, ``partitions`` those of a topic. ``freshness`` is ``None`` of what is read
    anew for each answer: that is as fresh as what it is read from.
    """

    kind: DatasetKind
    name: str
    family: str
    description: str
    columns: tuple[Column, ...]
    owners: tuple[str, ...]
    derived_from: tuple[str, ...] = ()
    freshness: Freshness | None = None
    partitions: int | None = None
    routes: tuple[str, ...] = ()

    @property
    def identifier(self) -> str:
        """``kind:name``, as it stands in ``derived_from``."""
        return f"{self.kind}:{self.name}"


def sensor_topic(family: Family) -> Dataset:
    """The topic that the sensors of a family publish to."""
    return Dataset(
        kind=DatasetKind.TOPIC,
        name=family.topic,
        family=family.name,
        description=f"Kafka topic of the {family.name} sensors, JSON. {family.description}",
        columns=event_columns(family) + RECORD_COLUMNS,
        owners=family.owners,
        freshness=family.freshness,
        partitions=family.topic_partitions,
    )


def hot_topic(family: Family) -> Dataset:
    """The compacted topic of a family: a record is a reading, or the totals so far of a zone and minute."""
    return Dataset(
        kind=DatasetKind.TOPIC,
        name=family.hot_topic,
        family=family.name,
        description=f"Compacted Kafka topic of {family.name}, JSON: a record is the newest reading of a sensor, "
        "or what the sensors of a zone have sent in one minute so far",
        columns=reading_columns(family) + minute_columns(family),
        owners=family.owners,
        derived_from=(sensor_topic(family).identifier,),
        freshness=family.freshness,
        partitions=family.topic_partitions,
    )


def hot_view(family: Family) -> Dataset:
    """What Redis has of a family: readings that are not stale, and the last minutes of the zones."""
    return Dataset(
        kind=DatasetKind.HOT_VIEW,
        name=family.name,
        family=family.name,
        description=f"Redis: the newest reading of each {family.name} sensor that is not silent, and what the "
        "sensors of each zone have sent in each of the last minutes so far",
        columns=tuple(replace(column, origins=()) for column in hot_topic(family).columns),
        owners=family.owners,
        derived_from=(hot_topic(family).identifier,),
        freshness=family.freshness,
    )


def reading_columns(family: Family) -> tuple[Column, ...]:
    """Columns of a reading in the hot topic, which has the zone of a minute as well."""
    return event_columns(family) + KAFKA_COLUMNS


def minute_columns(family: Family) -> tuple[Column, ...]:
    """Columns of the totals so far of a zone and minute, but for the zone."""
    topic = sensor_topic(family).identifier

    def column(name: str, type_: ColumnType, meaning: str, origin: str, unit: str | None = None) -> Column:
        return Column(name, type_, meaning, unit=unit, nullable=True, origins=(f"{topic}.{origin}",))

    return (
        column("minute", ColumnType.TIMESTAMP, "Start of the minute", "event_time"),
        column("event_count", ColumnType.LONG, "Events of the zone in the minute", "event_id", "1"),
        column(NEWEST_EVENT.name, NEWEST_EVENT.type, NEWEST_EVENT.meaning, "event_time"),
        *(
            column(
                f"{measure.name}_{suffix}", type_, f"{words} {lower_first(measure.meaning)}", measure.name, unit
            )
            for measure in family.measures
            for suffix, type_, words, unit in (
                ("count", ColumnType.LONG, "Number of values present:", "1"),
                ("sum", ColumnType.DOUBLE, "Sum of", measure.unit),
                ("min", measure.type, "Smallest", measure.unit),
                ("max", measure.type, "Largest", measure.unit),
            )
        ),
    )


def served_table(table: Table) -> Dataset:
    """What the API answers of a table: its rows and their aggregates, as they stand in it."""
    return Dataset(
        kind=DatasetKind.API,
        name=table.identifier,
        family=table.family,
        description=f"The API's answers from {table.identifier}. {table.description}",
        columns=tuple(_as_read(column) for column in table.columns),
        owners=table.owners,
        derived_from=(table.identifier,),
        routes=(
            LIST_ROUTE,
            TABLE_ROUTE,
            f"/v1/tables/{table.identifier}/rows",
            f"/v1/tables/{table.identifier}/aggregate",
        ),
    )


def latest_values(family: Family) -> Dataset:
    """What the API answers of the newest readings and the running windows of a family, if need be from tables."""
    readings = (_as_read(column) for column in reading_columns(family))
    return Dataset(
        kind=DatasetKind.API,
        name=f"{family.name}.latest",
        family=family.name,
        description=f"The API's live values of {family.name}: newest readings, the last five minutes of the "
        "zones, and each change as it comes. While the hot view is away they come from the tables",
        columns=_distinct((*readings, *_windows_of_both(family))),
        owners=family.owners,
        derived_from=(
            hot_view(family).identifier,
            bronze_events(family).identifier,
            silver_5m(family).identifier,
        ),
        routes=(
            f"/v1/{family.name}/latest",
            f"/v1/{family.name}/sensors/{{sensor_id}}/latest",
            f"/v1/{family.name}/stream",
        ),
    )


def joined_windows(family: Family) -> Dataset:
    """What the API answers of the windows of a family's zones, finished and running."""
    table = silver_5m(family)
    return Dataset(
        kind=DatasetKind.API,
        name=f"{family.name}.windows",
        family=family.name,
        description=f"The API's five-minute windows of the zones of {family.name}: the finished ones from "
        f"{table.identifier}, the running ones from the hot view",
        columns=_windows_of_both(family),
        owners=family.owners,
        derived_from=(table.identifier, hot_view(family).identifier),
        routes=(f"/v1/{family.name}/windows",),
    )


def check_outcomes() -> Dataset:
    """What the API answers about the checks of all tables."""
    table = quality_results()
    return Dataset(
        kind=DatasetKind.API,
        name="quality",
        family=table.family,
        description="The API's answers about the checks of all tables, and the report over them",
        columns=tuple(_as_read(column) for column in table.columns if column.name != "run_id"),
        owners=table.owners,
        derived_from=(table.identifier,),
        routes=("/v1/quality", "/v1/quality/{identifier}", "/v1/quality/report"),
    )


def datasets(families: Sequence[Family], served: Iterable[Table]) -> Iterator[Dataset]:
    """All datasets around the tables of ``families``, of which the API serves ``served``; upstream first."""
    for family in families:
        yield from (sensor_topic(family), hot_topic(family), hot_view(family))
    yield from map(served_table, served)
    for family in families:
        yield from (latest_values(family), joined_windows(family))
    yield check_outcomes()


def _as_read(column: Column) -> Column:
    """A column that comes from its namesake upstream, unchanged."""
    return replace(column, aggregation=None, origins=(), formerly=())


def _window_columns(family: Family) -> tuple[Column, ...]:
    return (*map(_as_read, silver_5m(family).columns), NEWEST_EVENT)


def _windows_of_both(family: Family) -> tuple[Column, ...]:
    """Columns of windows from the table, where they are finished, or merged from minutes of the hot view."""
    table = silver_5m(family)
    finished = {column.name for column in table.columns}
    return tuple(
        replace(
            column,
            origins=(
                *((f"{table.identifier}.{column.name}",) if column.name in finished else ()),
                *_from_minutes(family, column),
            ),
        )
        for column in _window_columns(family)
    )


def _from_minutes(family: Family, column: Column) -> tuple[str, ...]:
    """Columns of the hot view that a window's column is merged from."""
    sources = {"window_start": ("minute",), "window_end": ("minute",)} | {
        f"{measure.name}_mean": (f"{measure.name}_sum", f"{measure.name}_count") for measure in family.measures
    }
    return tuple(f"{hot_view(family).identifier}.{name}" for name in sources.get(column.name, (column.name,)))


def _distinct(columns: Iterable[Column]) -> tuple[Column, ...]:
    """The first of the columns of each name."""
    found: dict[str, Column] = {}
    for column in columns:
        found.setdefault(column.name, column)
    return tuple(found.values())
