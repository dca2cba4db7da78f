"""The vocabulary of a table contract: columns, tables, families and how one derives from another."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum

from contracts.errors import ContractError
from contracts.rules import Rule


class ColumnType(StrEnum):
    """Logical type of a column; each engine maps it to its own."""

    STRING = "string"
    BOOLEAN = "boolean"
    INT = "int"
    LONG = "long"
    DOUBLE = "double"
    TIMESTAMP = "timestamp"
    """An instant in UTC with microseconds (Iceberg ``timestamptz``)."""
    BINARY = "binary"


class Aggregate(StrEnum):
    """How a derived column summarises its source column over a window; nulls are left out by all."""

    COUNT = "count"
    MIN = "min"
    MAX = "max"
    MEAN = "mean"
    LAST = "last"
    INCREASE = "increase"
    """How much a counter has grown; where it fell it began anew at zero, and its value is the growth."""
    SUM = "sum"
    WEIGHTED_MEAN = "weighted_mean"
    """Mean of means, each weighted by the number of values it stands for."""


class Layer(StrEnum):
    """Medallion layer, which is also the Iceberg namespace."""

    BRONZE = "bronze"
    SILVER = "silver"
    GOLD = "gold"


class Writer(StrEnum):
    """Engine that writes a table; no table has two."""

    FLINK = "flink"
    COLLECTOR = "collector"
    """The service that fetches what Flink could not read, see :mod:`dead_letters`."""
    SPARK = "spark"
    DAGSTER = "dagster"
    """A run of Dagster, without an engine."""


BATCH_WRITERS = frozenset({Writer.SPARK, Writer.DAGSTER})
"""Writers that compute whole days, and can compute them again."""


class Transform(StrEnum):
    """Partition transform of the Iceberg specification (section "Partition Transforms")."""

    DAY = "day"
    IDENTITY = "identity"


class MeasureKind(StrEnum):
    """Whether a measure is an instantaneous value or an ever-growing counter."""

    GAUGE = "gauge"
    COUNTER = "counter"


@dataclass(frozen=True, slots=True)
class Aggregation:
    """A derived column's origin: ``function`` over ``column`` of the upstream table.

    ``table`` says of which one where there are several; ``weight`` is the column of weights of a weighted mean.
    """

    function: Aggregate
    column: str
    table: str | None = None
    weight: str | None = None

    def __post_init__(self) -> None:
        if (self.weight is not None) != (self.function is Aggregate.WEIGHTED_MEAN):
            raise ContractError(f"{self.function} of {self.column!r}: a weighted mean, and no other, has a weight")


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its type, unit, meaning, nullability and valid range.

    ``unit`` is a UCUM-like symbol (``km/h``, ``Cel`` is written ``degC``); ``1`` means a ratio and ``None``
    that the column has no unit. ``minimum`` and ``maximum`` are inclusive and in that unit. ``origins`` names the
    upstream columns that it is computed from, as ``namespace.table.column``, where that is no aggregation.
    ``formerly`` names what the column was called before, oldest first: where a table has one of those, it is
    renamed and keeps its values, and an event that carries one is read.
    """

    name: str
    type: ColumnType
    meaning: str
    unit: str | None = None
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    aggregation: Aggregation | None = None
    origins: tuple[str, ...] = ()
    formerly: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or self.name != self.name.lower():
            raise ContractError(f"column {self.name!r}: a name is lower case letters, digits and underscores")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ContractError(f"column {self.name!r}: minimum {self.minimum} is above maximum {self.maximum}")


@dataclass(frozen=True, slots=True)
class Measure(Column):
    """A column that a sensor measures, and that windows and hourly tables aggregate."""

    kind: MeasureKind = MeasureKind.GAUGE
    steady: bool = False
    """Whether the value may well be the same for hours; else that is the sign of a sensor that is stuck."""

    def __post_init__(self) -> None:
        # zero-argument super() does not work in a slotted dataclass
        Column.__post_init__(self)
        if self.unit is None:
            raise ContractError(f"measure {self.name!r} has no unit")


@dataclass(frozen=True, slots=True)
class PartitionField:
    """One field of the partition spec."""

    column: str
    transform: Transform


@dataclass(frozen=True, slots=True)
class Freshness:
    """How old the newest materialization may be before people are warned and before it is a failure."""

    warn_after: timedelta
    fail_after: timedelta


@dataclass(frozen=True, slots=True)
class Maintenance:
    """When the files of a table are rewritten, and how long what nobody reads any more is kept."""

    keep_snapshots: timedelta
    """Age up to which the table can be read as it was. The last commit of each writer stays anyhow."""
    keep_at_least: int = 20
    """Snapshots that stay whatever their age."""
    target_file_bytes: int = 128 << 20
    compact_at: int = 24
    """Small files in one partition at which they are joined, while rows still come to it."""
    closes_after: timedelta = timedelta(hours=2)
    """How long after its day a partition is closed: from then on two small files are joined, and sorted."""
    max_manifests: int = 100
    """Manifests of the current snapshot at which they are rewritten by partition."""
    orphans_after: timedelta = timedelta(days=3)
    """Age at which a file that no snapshot lists is no commit under way but left over."""
    metadata_after: timedelta = timedelta(minutes=15)
    """Age at which a metadata file that nothing names is no commit under way but left behind."""
    statistics_after: timedelta | None = None
    """Age of the newest statistics at which those of a table that has changed since are computed again; a table
    without it has none."""


STREAM_MAINTENANCE = Maintenance(keep_snapshots=timedelta(hours=1), statistics_after=timedelta(days=1))
"""Of a table that gets a snapshot each checkpoint: every commit writes the list of all that are kept."""
BRONZE_MAINTENANCE = replace(STREAM_MAINTENANCE, statistics_after=None)
"""Of a table of events, which is read by the day and joined with nothing."""
BATCH_MAINTENANCE = Maintenance(keep_snapshots=timedelta(days=30), statistics_after=timedelta(days=1))


@dataclass(frozen=True, slots=True)
class Table:
    """Everything that is known about one Iceberg table.

    ``derived_from`` holds identifiers of tables, or ``topic:<name>`` for a Kafka topic. ``key`` is unique
    within the table. ``event_time`` names the column that carries the time of the row. ``tile`` is the length
    of the window that one row stands for, ``None`` where a row is an event. ``retired`` names columns that are
    dropped where the table still has them; a column that the contract merely lacks stays. ``rules`` hold within
    each row, those about columns that the table has. ``carried`` names columns whose values on a day stand on the
    same day in a table that it is derived from. ``originates`` names columns whose values come of no upstream
    column: the writer's clock, or a name that the writer gives.
    """

    layer: Layer
    name: str
    family: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    event_time: str
    partitioning: tuple[PartitionField, ...]
    sort_order: tuple[str, ...]
    writer: Writer
    derived_from: tuple[str, ...]
    freshness: Freshness
    owners: tuple[str, ...]
    tile: timedelta | None = None
    served: bool = True
    maintenance: Maintenance = STREAM_MAINTENANCE
    retired: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    carried: tuple[str, ...] = ()
    originates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        every = [*names, *self.retired, *(name for column in self.columns for name in column.formerly)]
        if twice := sorted({name for name in every if every.count(name) > 1}):
            raise ContractError(
                f"table {self.identifier}: {', '.join(twice)} stands twice; the name of a column, one that it had "
                "formerly and one that is retired are different columns"
            )
        used = {*self.key, *self.sort_order, self.event_time, *(f.column for f in self.partitioning)}
        if missing := sorted((used | {*self.carried, *self.originates}) - set(names)):
            raise ContractError(f"table {self.identifier}: no column {', '.join(missing)}")
        if renamed := sorted(name for name in used if self.column(name).formerly):
            raise ContractError(
                f"table {self.identifier}: {', '.join(renamed)} cannot be renamed: files are found by that name"
            )

    @property
    def identifier(self) -> str:
        """``namespace.table`` as every engine writes it."""
        return f"{self.layer}.{self.name}"

    def column(self, name: str) -> Column:
        """Return the column called ``name``.

        Raises:
            ContractError: no such column.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise ContractError(f"table {self.identifier} has no column {name!r}")


@dataclass(frozen=True, slots=True)
class Family:
    """A family of sensors: what its events carry and how its topic is laid out.

    A measure that is renamed, and one of ``retired``, takes the columns of all tables with it that come of it.
    """

    name: str
    description: str
    measures: tuple[Measure, ...]
    owners: tuple[str, ...]
    zones: tuple[str, ...]
    topic_partitions: int = 6
    out_of_orderness: timedelta = timedelta(seconds=10)
    """How far behind the newest event of its partition an event may be and still be on time."""
    reporting_interval: timedelta = timedelta(seconds=10)
    """How often one sensor reports."""
    max_clock_ahead: timedelta = timedelta(minutes=1)
    """How far ahead of the broker's time an event may be; one that is further ahead would push the watermark."""
    deduplication_ttl: timedelta = timedelta(hours=1)
    """How long after an event its duplicate is recognised in the stream (gold recognises it within its day)."""
    stale_after: timedelta = timedelta(minutes=15)
    """Age at which a reading is no longer the latest of its sensor but the sign of a silent sensor."""
    schema_versions: tuple[int, ...] = (1,)
    """Values of ``schema_version`` in an event that the columns here are right for."""
    max_event_bytes: int = 65_536
    """Size of the largest event, in bytes of its JSON."""
    retired: tuple[str, ...] = ()
    """Measures that events carried once, and whose columns are dropped."""
    freshness: Freshness = field(
        default_factory=lambda: Freshness(warn_after=timedelta(minutes=5), fail_after=timedelta(minutes=15))
    )

    rules: tuple[Rule, ...] = ()
    """What holds between the measures of one event."""

    def __post_init__(self) -> None:
        if not self.measures:
            raise ContractError(f"family {self.name!r} measures nothing")
        measured = {measure.name for measure in self.measures}
        if unknown := sorted({name for rule in self.rules for name in rule.columns} - measured):
            raise ContractError(
                f"family {self.name!r} has a rule about {', '.join(unknown)}, which it does not measure"
            )

    @property
    def topic(self) -> str:
        """Kafka topic that the sensors of this family publish to."""
        return f"sensors.{self.name}"

    @property
    def job_name(self) -> str:
        """Name of the family's Flink job, and the consumer group whose offsets say what its checkpoints cover."""
        return f"lakehouse-{self.name}"

    @property
    def hot_topic(self) -> str:
        """Compacted Kafka topic with the newest reading of each sensor and the running aggregates of each zone."""
        return f"hot.{self.name}"
