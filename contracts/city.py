"""Batch tables that hold rows of all families: the city by zone and hour, the health of sensors, anomalies."""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

from contracts.model import (
    BATCH_MAINTENANCE,
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
from contracts.rules import WINDOW, Counted, NotBelow, Rule, roll_up_rules
from contracts.tables import (
    CITY,
    WINDOW_BOUNDS,
    ZONE_ROLL_UPS,
    bronze_events,
    former_columns,
    gold_hourly,
    known_families,
    known_zones,
    lower_first,
    retired_columns,
)

TableOf = Callable[[Family], Table]

OWNERS = ("team:platform",)

GAP_AFTER = 3
"""Reporting intervals without an event that make a gap."""

STUCK_AFTER = timedelta(minutes=30)
"""How long a value must not change for its sensor to be called stuck."""

SILENT_FOR = timedelta(days=7)
"""How long a sensor that fell silent goes on being listed."""

NEIGHBOURS = 5
"""Sensors of one family that a zone needs for one of them to be held against the others."""

BASELINE_WEEKS = 8
"""Weeks whose same hour is what an hour is held against."""

BASELINE_HOURS = 4
"""How many of those hours must have a value."""

ANOMALY_SCORE = 3.5
"""Modified z-score of an outlier (Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993)."""


def city_hourly(families: Sequence[Family]) -> Table:
    """Hourly aggregates per zone of all families, one beside the other."""
    columns = (
        Column("zone", ColumnType.STRING, "Zone of the sensors; null where events name none", nullable=True),
        *WINDOW_BOUNDS,
        *(column for family in families for column in _zone_columns(family)),
    )
    return _city_table(
        "city_hourly",
        "One row per zone and hour with events: traffic, weather, energy and what other families there are. A "
        "sensor counts where its last event of the hour says that it stands",
        columns,
        key=("zone", "window_start"),
        derived_from=tuple(gold_hourly(family).identifier for family in families),
        tile=timedelta(hours=1),
        warn_after=timedelta(hours=2),
        retired=tuple(name for family in families for name in retired_columns(family, f"{family.name}_")),
        carried=("zone",),
        rules=(known_zones(families), *(rule for family in families for rule in _zone_rules(family))),
    )


def sensor_health(families: Sequence[Family]) -> Table:
    """How each sensor did on a day, those that fell silent included."""
    time = _origins(families, bronze_events, "event_time")
    zone = _origins(families, bronze_events, "zone")
    stuck = (*_values(families, lambda measure: not measure.steady), *time)
    neighbours = (*_values(families, lambda measure: measure.kind is not MeasureKind.COUNTER), *zone)
    columns = (
        Column("family", ColumnType.STRING, "Family of the sensor"),
        _sensor(families, bronze_events, gold_hourly),
        *_bounds("day (UTC)", time, time),
        Column(
            "zone", ColumnType.STRING, "Zone of the sensor's last event, by event time", nullable=True,
            origins=(*zone, *_origins(families, gold_hourly, "zone")),
        ),
        Column(
            "event_count", ColumnType.LONG, "Events of the sensor on the day; one sent twice counts once",
            unit="1", minimum=0, origins=_origins(families, bronze_events, "event_id"),
        ),
        Column(
            "coverage_ratio", ColumnType.DOUBLE,
            "Share of the reporting intervals with an event; of the running day, of those that are over",
            unit="1", minimum=0, maximum=1, origins=time,
        ),
        Column(
            "gap_count", ColumnType.LONG, f"Times without an event for more than {GAP_AFTER} reporting intervals",
            unit="1", minimum=0, origins=time,
        ),
        Column(
            "longest_gap_s", ColumnType.DOUBLE,
            "Longest time without an event, from the day's start to its end, or to now",
            unit="s", minimum=0, maximum=86_400, origins=time,
        ),
        Column(
            "last_seen", ColumnType.TIMESTAMP,
            f"Time of the last event; of a sensor that was silent all day, the end of the last hour with one in "
            f"the {SILENT_FOR.days} days before",
            origins=(*time, *_origins(families, gold_hourly, "window_end")),
        ),
        Column(
            "stuck_measure", ColumnType.STRING,
            "Measure whose value stayed the same for longest, of those that change all the time; null below "
            f"{STUCK_AFTER.seconds // 60} min",
            nullable=True, origins=stuck,
        ),
        Column(
            "stuck_s", ColumnType.DOUBLE, "How long it did", unit="s", nullable=True,
            minimum=STUCK_AFTER.total_seconds(), maximum=86_400, origins=stuck,
        ),
        Column(
            "drift_measure", ColumnType.STRING,
            "Measure whose mean of the day is furthest from the other sensors of the zone; null where there are "
            f"fewer than {NEIGHBOURS} or all agree",
            nullable=True, origins=neighbours,
        ),
        Column(
            "drift_score", ColumnType.DOUBLE,
            "How far: modified z-score against the zone's sensors of the family, 0.6745 (mean - median) / MAD",
            unit="1", nullable=True, origins=neighbours,
        ),
    )  # fmt: skip
    return _city_table(
        "sensor_health",
        "One row per sensor and day: coverage, gaps, stuck values, drift against neighbours, last seen. A "
        f"sensor that fell silent is listed for {SILENT_FOR.days} days",
        columns,
        key=("family", "sensor_id", "window_start"),
        derived_from=tuple(of(family).identifier for family in families for of in (bronze_events, gold_hourly)),
        tile=timedelta(days=1),
        warn_after=timedelta(hours=25),
        rules=(
            known_families(families),
            known_zones(families),
            NotBelow("window_end", "last_seen", strict=True),
        ),
        originates=("family",),
    )


def anomalies(families: Sequence[Family]) -> Table:
    """Hours of a sensor that are unlike the same hour of the weeks before."""
    values = tuple(
        f"{gold_hourly(family).identifier}.{hourly_value(measure)}"
        for family in families
        for measure in family.measures
    )
    columns = (
        Column("family", ColumnType.STRING, "Family of the sensor"),
        _sensor(families, gold_hourly),
        *_bounds(
            "hour",
            _origins(families, gold_hourly, "window_start"),
            _origins(families, gold_hourly, "window_end"),
        ),
        Column(
            "zone", ColumnType.STRING, "Zone of the sensor in that hour", nullable=True,
            origins=_origins(families, gold_hourly, "zone"),
        ),
        Column("measure", ColumnType.STRING, "Measure that is unlike"),
        Column("unit", ColumnType.STRING, "Unit of the value, of the median and of the deviation"),
        Column(
            "value", ColumnType.DOUBLE, "Mean of the measure in the hour, or a counter's growth", origins=values
        ),
        Column(
            "baseline_median", ColumnType.DOUBLE,
            f"Median of the same sensor's same hour of the week (UTC) in the {BASELINE_WEEKS} weeks before",
            origins=values,
        ),
        Column(
            "baseline_mad", ColumnType.DOUBLE, "Median absolute deviation of those from their median", minimum=0,
            origins=values,
        ),
        Column(
            "baseline_hours", ColumnType.LONG, "How many of those hours have a value", unit="1",
            minimum=BASELINE_HOURS, maximum=BASELINE_WEEKS, origins=values,
        ),
        Column(
            "score", ColumnType.DOUBLE,
            f"Modified z-score, 0.6745 (value - median) / MAD; its magnitude is above {ANOMALY_SCORE:g}",
            unit="1", origins=values,
        ),
    )  # fmt: skip
    return _city_table(
        "anomalies",
        "One row per sensor, measure and hour that is unlike the same hour of the week before. Hours with fewer "
        f"than {BASELINE_HOURS} to be held against, or against ones that are all the same, are not judged",
        columns,
        key=("family", "sensor_id", "measure", "window_start"),
        derived_from=tuple(gold_hourly(family).identifier for family in families),
        tile=timedelta(hours=1),
        warn_after=timedelta(hours=25),
        carried=("sensor_id", "zone"),
        rules=(known_families(families), known_zones(families)),
        originates=("family", "measure", "unit"),
    )


def hourly_value(measure: Measure) -> str:
    """Column of the hourly table that says most of a measure: a counter's growth, else the mean."""
    return f"{measure.name}_increase" if measure.kind is MeasureKind.COUNTER else f"{measure.name}_mean"


def _zone_columns(family: Family) -> Iterator[Column]:
    hourly = gold_hourly(family)

    def origin(function: Aggregate, column: str, weight: str | None = None) -> Aggregation:
        return Aggregation(function, column, table=hourly.identifier, weight=weight)

    yield Column(
        f"{family.name}_sensor_count", ColumnType.LONG,
        f"Sensors of {family.name} with an event; null in rows from before the family was there", unit="1",
        nullable=True, minimum=0, aggregation=origin(Aggregate.COUNT, "sensor_id"),
    )  # fmt: skip
    yield Column(
        f"{family.name}_event_count", ColumnType.LONG, f"Events of {family.name}; null where there is none",
        unit="1", nullable=True, minimum=1, aggregation=origin(Aggregate.SUM, "event_count"),
    )  # fmt: skip
    for measure in family.measures:
        name = f"{family.name}_{measure.name}"
        if measure.kind is MeasureKind.COUNTER:
            yield Column(
                f"{name}_increase", measure.type, f"Growth over all sensors: {lower_first(measure.meaning)}",
                unit=measure.unit, nullable=True, minimum=0,
                aggregation=origin(Aggregate.SUM, f"{measure.name}_increase"),
                formerly=former_columns(measure, Aggregate.INCREASE, f"{family.name}_"),
            )  # fmt: skip
            continue
        for function, meaning in (
            (Aggregate.MIN, "Smallest"),
            (Aggregate.MAX, "Largest"),
            (Aggregate.MEAN, "Arithmetic mean over events of"),
        ):
            mean = function is Aggregate.MEAN
            yield Column(
                f"{name}_{function}",
                ColumnType.DOUBLE if mean else measure.type,
                f"{meaning} {lower_first(measure.meaning)}",
                unit=measure.unit, nullable=True, minimum=measure.minimum, maximum=measure.maximum,
                aggregation=origin(
                    Aggregate.WEIGHTED_MEAN if mean else function,
                    f"{measure.name}_{function}",
                    f"{measure.name}_count" if mean else None,
                ),
                formerly=former_columns(measure, function, f"{family.name}_"),
            )  # fmt: skip


def _zone_rules(family: Family) -> Iterator[Rule]:
    sensors, events = f"{family.name}_sensor_count", f"{family.name}_event_count"
    # a sensor counts because it has an event
    yield NotBelow(events, sensors)
    yield Counted(events, sensors)
    for measure in family.measures:
        if measure.kind is not MeasureKind.COUNTER:
            yield from roll_up_rules(f"{family.name}_{measure.name}", ZONE_ROLL_UPS, count=None, events=None)


def _sensor(families: Sequence[Family], *tables: TableOf) -> Column:
    return Column(
        "sensor_id",
        ColumnType.STRING,
        "Identifier of the sensor within its family",
        origins=tuple(origin for of in tables for origin in _origins(families, of, "sensor_id")),
    )


def _bounds(what: str, starts: tuple[str, ...], ends: tuple[str, ...]) -> tuple[Column, ...]:
    return (
        Column("window_start", ColumnType.TIMESTAMP, f"Start of the {what}, inclusive", origins=starts),
        Column("window_end", ColumnType.TIMESTAMP, f"End of the {what}, exclusive", origins=ends),
    )


def _origins(families: Sequence[Family], of: TableOf, column: str) -> tuple[str, ...]:
    return tuple(f"{of(family).identifier}.{column}" for family in families)


def _values(families: Sequence[Family], wanted: Callable[[Measure], bool]) -> tuple[str, ...]:
    return tuple(
        f"{bronze_events(family).identifier}.{measure.name}"
        for family in families
        for measure in family.measures
        if wanted(measure)
    )


def _city_table(
    name: str,
    description: str,
    columns: tuple[Column, ...],
    *,
    key: tuple[str, ...],
    derived_from: tuple[str, ...],
    tile: timedelta,
    warn_after: timedelta,
    retired: tuple[str, ...] = (),
    rules: tuple[Rule, ...] = (),
    carried: tuple[str, ...] = (),
    originates: tuple[str, ...] = (),
) -> Table:
    return Table(
        layer=Layer.GOLD,
        name=name,
        family=CITY,
        description=description,
        columns=columns,
        key=key,
        event_time="window_start",
        partitioning=(PartitionField("window_start", Transform.DAY),),
        sort_order=key,
        writer=Writer.SPARK,
        derived_from=derived_from,
        freshness=Freshness(warn_after=warn_after, fail_after=timedelta(hours=26)),
        owners=OWNERS,
        tile=tile,
        maintenance=BATCH_MAINTENANCE,
        retired=retired,
        rules=(WINDOW, *rules),
        carried=carried,
        originates=originates,
    )
