"""The tables of a family, derived from its measures."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from contracts.model import (
    BATCH_MAINTENANCE,
    BRONZE_MAINTENANCE,
    STREAM_MAINTENANCE,
    Aggregate,
    Aggregation,
    Column,
    ColumnType,
    Family,
    Freshness,
    Layer,
    Measure,
    MeasureKind,
    PartitionField,
    Table,
    Transform,
    Writer,
)
from contracts.rules import WINDOW, OneOf, Rule, roll_up_rules

EVENT_COLUMNS = (
    Column("event_id", ColumnType.STRING, "Identifier of the event; the same event sent twice carries it twice"),
    Column("sensor_id", ColumnType.STRING, "Identifier of the sensor; the key of the Kafka record"),
    Column("event_time", ColumnType.TIMESTAMP, "Instant of the measurement by the sensor's clock"),
    Column("zone", ColumnType.STRING, "City zone that the sensor stands in", nullable=True),
    Column(
        "latitude", ColumnType.DOUBLE, "WGS 84 latitude of the sensor", unit="deg",
        nullable=True, minimum=-90, maximum=90,
    ),
    Column(
        "longitude", ColumnType.DOUBLE, "WGS 84 longitude of the sensor", unit="deg",
        nullable=True, minimum=-180, maximum=180,
    ),
)  # fmt: skip
"""What an event of any family carries."""

REQUIRED_EVENT_COLUMNS = tuple(column.name for column in EVENT_COLUMNS if not column.nullable)

KAFKA_COLUMNS = (
    Column("kafka_partition", ColumnType.INT, "Partition of the topic that the event was read from", minimum=0),
    Column("kafka_offset", ColumnType.LONG, "Offset of the event in that partition", minimum=0),
    Column("kafka_time", ColumnType.TIMESTAMP, "Timestamp of the Kafka record"),
)
"""Where an event came from; with them exactly-once can be shown by arithmetic."""

RECORD_COLUMNS = (
    *KAFKA_COLUMNS,
    Column("kafka_key", ColumnType.BINARY, "Key of the record", nullable=True),
    Column("payload", ColumnType.BINARY, "Value of the record; null where it had none", nullable=True),
)
"""What any record of a topic has, whether or not it is an event."""

SCHEMA_VERSION = Column(
    "schema_version",
    ColumnType.INT,
    "Version of the event's layout; absent in the first",
    nullable=True,
    minimum=1,
)
"""What an event may carry to say how it is to be read; no table keeps it."""

EARLIEST_EVENT_TIME = datetime(2000, 1, 1, tzinfo=UTC)
"""An earlier time is a clock that was never set."""

CITY = "city"
"""Stands where a family does in tables that hold all families."""

SLIDE = timedelta(minutes=1)
"""How far apart the sliding windows of ``<family>_5m`` start."""

ROLL_UPS = (Aggregate.MIN, Aggregate.MAX, Aggregate.MEAN, Aggregate.LAST)
"""Aggregates of each measure in a window of a sensor, beside the count of its values."""

ZONE_ROLL_UPS = (Aggregate.MIN, Aggregate.MAX, Aggregate.MEAN)
"""Those in a window of a zone, whose sensors' values have no common order."""

WINDOW_BOUNDS = (
    Column("window_start", ColumnType.TIMESTAMP, "Start of the window, inclusive"),
    Column("window_end", ColumnType.TIMESTAMP, "End of the window, exclusive"),
)
"""Bounds of the window that a row stands for."""

_ROLL_UP_MEANING = {
    Aggregate.MIN: "Smallest",
    Aggregate.MAX: "Largest",
    Aggregate.MEAN: "Arithmetic mean of",
    Aggregate.LAST: "Last",
}


def event_columns(family: Family) -> tuple[Column, ...]:
    """Columns of an event as a sensor publishes it."""
    return EVENT_COLUMNS + family.measures


def wire_columns(family: Family) -> tuple[Column, ...]:
    """What an event may carry: its columns, also under the names that they had formerly."""
    columns = event_columns(family)
    former = (replace(column, name=name, formerly=()) for column in columns for name in column.formerly)
    return (*columns, *former)


def bronze_events(family: Family) -> Table:
    """Every valid event of the family, once, with its place in Kafka."""
    return Table(
        layer=Layer.BRONZE,
        name=f"{family.name}_events",
        family=family.name,
        description=f"Every valid {family.name} event, as published, with its Kafka partition and offset",
        columns=event_columns(family) + KAFKA_COLUMNS,
        key=("kafka_partition", "kafka_offset"),
        event_time="event_time",
        partitioning=(PartitionField("event_time", Transform.DAY),),
        sort_order=("sensor_id", "event_time"),
        writer=Writer.FLINK,
        derived_from=(f"topic:{family.topic}",),
        freshness=family.freshness,
        owners=family.owners,
        maintenance=BRONZE_MAINTENANCE,
        retired=family.retired,
        rules=(*family.rules, known_zones((family,))),
    )


def silver_1m(family: Family) -> Table:
    """Tumbling one-minute windows per sensor."""
    return _windows(
        family,
        layer=Layer.SILVER,
        name=f"{family.name}_1m",
        description=f"One row per {family.name} sensor and minute with events: a tumbling window in event time",
        tile=timedelta(minutes=1),
        writer=Writer.FLINK,
        derived_from=(f"topic:{family.topic}",),
        freshness=family.freshness,
        last_by="the order of arrival",
        counter_growth=False,
    )


def gold_hourly(family: Family) -> Table:
    """Hourly aggregates per sensor, recomputed from bronze a day at a time."""
    return _gold_windows(family, "hourly", "hour", timedelta(hours=1), warn_after=timedelta(hours=2))


def gold_daily(family: Family) -> Table:
    """Daily aggregates per sensor, days in UTC, recomputed from bronze."""
    return _gold_windows(family, "daily", "day (UTC)", timedelta(days=1), warn_after=timedelta(hours=25))


def _gold_windows(family: Family, suffix: str, unit: str, tile: timedelta, warn_after: timedelta) -> Table:
    return _windows(
        family,
        layer=Layer.GOLD,
        name=f"{family.name}_{suffix}",
        description=f"One row per {family.name} sensor and {unit} with events; an event sent twice counts once",
        tile=tile,
        writer=Writer.SPARK,
        derived_from=(bronze_events(family).identifier,),
        freshness=Freshness(warn_after=warn_after, fail_after=timedelta(hours=26)),
        last_by="event time",
        counter_growth=True,
    )


def silver_5m(family: Family) -> Table:
    """Sliding five-minute windows per zone, one each minute."""
    columns = (
        Column("zone", ColumnType.STRING, "Zone of the sensors; null where events name none", nullable=True),
        *WINDOW_BOUNDS,
        Column(
            "event_count", ColumnType.LONG, "Events of the zone in the window", unit="1", minimum=1,
            aggregation=Aggregation(Aggregate.COUNT, "event_id"),
        ),
        *(
            column
            for measure in family.measures
            for column in _roll_ups(measure, ZONE_ROLL_UPS, last_by="")
        ),
    )  # fmt: skip
    return Table(
        layer=Layer.SILVER,
        name=f"{family.name}_5m",
        family=family.name,
        description=f"One row per zone with {family.name} events and minute: the five minutes that end with it",
        columns=columns,
        key=("zone", "window_start"),
        event_time="window_start",
        partitioning=(PartitionField("window_start", Transform.DAY),),
        sort_order=("zone", "window_start"),
        writer=Writer.FLINK,
        derived_from=(f"topic:{family.topic}",),
        freshness=family.freshness,
        owners=family.owners,
        tile=timedelta(minutes=5),
        retired=retired_columns(family),
        rules=_window_rules(family, ZONE_ROLL_UPS),
    )


def family_tables(family: Family) -> tuple[Table, ...]:
    """All tables of the family, upstream first."""
    return (
        bronze_events(family),
        silver_1m(family),
        silver_5m(family),
        gold_hourly(family),
        gold_daily(family),
    )


def former_columns(measure: Measure, function: Aggregate, prefix: str = "") -> tuple[str, ...]:
    """What the column of an aggregate of ``measure`` was called before."""
    return tuple(f"{prefix}{name}_{function}" for name in measure.formerly)


def retired_columns(family: Family, prefix: str = "") -> tuple[str, ...]:
    """Columns of aggregates of the measures that the family has retired."""
    return tuple(f"{prefix}{name}_{function}" for name in family.retired for function in Aggregate)


def known_zones(families: Sequence[Family]) -> OneOf:
    """The zones that families declare; a sensor that names another is configured wrongly, or they are."""
    zones = dict.fromkeys(zone for family in families for zone in family.zones)
    return OneOf("zone", tuple(zones), measured=True)


def known_families(families: Sequence[Family]) -> OneOf:
    """The families that there are."""
    return OneOf("family", tuple(family.name for family in families))


def lower_first(meaning: str) -> str:
    """A meaning as it stands within a sentence."""
    return meaning[0].lower() + meaning[1:]


def _windows(
    family: Family,
    *,
    layer: Layer,
    name: str,
    description: str,
    tile: timedelta,
    writer: Writer,
    derived_from: tuple[str, ...],
    freshness: Freshness,
    last_by: str,
    counter_growth: bool,
) -> Table:
    columns = (
        Column("sensor_id", ColumnType.STRING, "Identifier of the sensor"),
        *WINDOW_BOUNDS,
        Column(
            "zone", ColumnType.STRING, f"Zone of the sensor's last event of the window, by {last_by}",
            nullable=True, aggregation=Aggregation(Aggregate.LAST, "zone"),
        ),
        Column(
            "event_count", ColumnType.LONG, "Events of the sensor in the window", unit="1", minimum=1,
            aggregation=Aggregation(Aggregate.COUNT, "event_id"),
        ),
        *(column for measure in family.measures for column in _roll_ups(measure, ROLL_UPS, last_by)),
        *(_growth(m) for m in family.measures if counter_growth and m.kind is MeasureKind.COUNTER),
    )  # fmt: skip
    return Table(
        layer=layer,
        name=name,
        family=family.name,
        description=description,
        columns=columns,
        key=("sensor_id", "window_start"),
        event_time="window_start",
        partitioning=(PartitionField("window_start", Transform.DAY),),
        sort_order=("sensor_id", "window_start"),
        writer=writer,
        derived_from=derived_from,
        freshness=freshness,
        owners=family.owners,
        tile=tile,
        maintenance=BATCH_MAINTENANCE if writer is Writer.SPARK else STREAM_MAINTENANCE,
        retired=retired_columns(family),
        rules=_window_rules(family, ROLL_UPS),
        carried=("sensor_id", "zone") if layer is Layer.GOLD else (),
    )


def _window_rules(family: Family, functions: Sequence[Aggregate]) -> tuple[Rule, ...]:
    of_measures = (
        roll_up_rules(measure.name, functions, count=f"{measure.name}_count", events="event_count")
        for measure in family.measures
    )
    return (WINDOW, known_zones((family,)), *(rule for rules in of_measures for rule in rules))


def _roll_ups(measure: Measure, functions: Sequence[Aggregate], last_by: str) -> tuple[Column, ...]:
    meaning = lower_first(measure.meaning)
    count = Column(
        f"{measure.name}_count",
        ColumnType.LONG,
        f"Number of values present: {meaning}; null in rows from before it was measured",
        unit="1",
        nullable=True,
        minimum=0,
        aggregation=Aggregation(Aggregate.COUNT, measure.name),
        formerly=former_columns(measure, Aggregate.COUNT),
    )
    values = tuple(
        Column(
            f"{measure.name}_{function}",
            ColumnType.DOUBLE if function is Aggregate.MEAN else measure.type,
            f"{_ROLL_UP_MEANING[function]} {meaning}" + (f", by {last_by}" if function is Aggregate.LAST else ""),
            unit=measure.unit,
            nullable=True,
            minimum=measure.minimum,
            maximum=measure.maximum,
            aggregation=Aggregation(function, measure.name),
            formerly=former_columns(measure, function),
        )
        for function in functions
    )
    return (count, *values)


def _growth(measure: Measure) -> Column:
    meaning = lower_first(measure.meaning)
    return Column(
        f"{measure.name}_increase",
        measure.type,
        f"Growth of {meaning}, from one reading of the day to the next; where it fell it began anew at zero",
        unit=measure.unit,
        nullable=True,
        minimum=0,
        aggregation=Aggregation(Aggregate.INCREASE, measure.name),
        formerly=former_columns(measure, Aggregate.INCREASE),
    )
