"""The tables that hold what went wrong in the streams of all families: late events and dead letters."""

from collections.abc import Sequence
from datetime import timedelta

from contracts.model import (
    BRONZE_MAINTENANCE,
    Column,
    ColumnType,
    Family,
    Freshness,
    Layer,
    PartitionField,
    Table,
    Transform,
    Writer,
)
from contracts.tables import (
    CITY,
    EVENT_COLUMNS,
    KAFKA_COLUMNS,
    RECORD_COLUMNS,
    REQUIRED_EVENT_COLUMNS,
    known_families,
    known_zones,
)

_NEVER_STALE = Freshness(warn_after=timedelta(days=365), fail_after=timedelta(days=366))
"""For tables that hold what went wrong: no news is good news."""


def late_events(families: Sequence[Family]) -> Table:
    """Events of all families that came after their one-minute window was closed."""
    # a watermark is the time of an event before, less what events may be out of order
    time = _origins(families, "event_time")
    return Table(
        layer=Layer.SILVER,
        name="late_events",
        family=CITY,
        description="Events that came after their windows were closed: in bronze, but in no window",
        columns=(
            Column("family", ColumnType.STRING, "Family of the sensor"),
            *(column for column in EVENT_COLUMNS if column.name in {*REQUIRED_EVENT_COLUMNS, "zone"}),
            *KAFKA_COLUMNS,
            Column(
                "watermark", ColumnType.TIMESTAMP, "Watermark of the stream when the event came", origins=time
            ),
            Column(
                "late_by_s", ColumnType.LONG, "How far behind the watermark the event was", unit="s", minimum=0,
                origins=time,
            ),
        ),
        key=("family", "kafka_partition", "kafka_offset"),
        event_time="event_time",
        partitioning=(PartitionField("event_time", Transform.DAY),),
        sort_order=("family", "sensor_id", "event_time"),
        writer=Writer.FLINK,
        derived_from=tuple(f"topic:{family.topic}" for family in families),
        freshness=_NEVER_STALE,
        owners=("team:platform",),
        rules=(known_families(families), known_zones(families)),
        originates=("family",),
    )  # fmt: skip


def dead_letters(families: Sequence[Family]) -> Table:
    """Records of all topics that are no valid event, as they were."""
    # an event's time is held against the broker's
    judged = (*_origins(families, "payload"), *_origins(families, "kafka_time"))
    return Table(
        layer=Layer.BRONZE,
        name="dead_letters",
        family=CITY,
        description="Records that are no valid event, with their raw bytes and what is wrong with them",
        columns=(
            Column("family", ColumnType.STRING, "Family whose topic the record was published to"),
            Column("topic", ColumnType.STRING, "Kafka topic of the record"),
            *RECORD_COLUMNS,
            Column("error_class", ColumnType.STRING, "Kind of error", origins=judged),
            Column(
                "error_field", ColumnType.STRING, "Field that is wrong, where it is one", nullable=True,
                origins=judged,
            ),
            Column("error_message", ColumnType.STRING, "What is wrong", origins=judged),
            Column("collected_at", ColumnType.TIMESTAMP, "When the record was fetched and stored"),
        ),
        key=("topic", "kafka_partition", "kafka_offset"),
        event_time="kafka_time",
        partitioning=(PartitionField("kafka_time", Transform.DAY),),
        sort_order=("topic", "kafka_partition", "kafka_offset"),
        writer=Writer.COLLECTOR,
        derived_from=tuple(f"topic:{family.topic}" for family in families),
        freshness=_NEVER_STALE,
        owners=("team:platform",),
        served=False,
        maintenance=BRONZE_MAINTENANCE,
        rules=(known_families(families),),
        originates=("family", "topic", "collected_at"),
    )  # fmt: skip


def stream_tables(families: Sequence[Family]) -> tuple[Table, ...]:
    """The tables that hold what went wrong in the streams of all families."""
    return dead_letters(families), late_events(families)


def _origins(families: Sequence[Family], column: str) -> tuple[str, ...]:
    return tuple(f"topic:{family.topic}.{column}" for family in families)
