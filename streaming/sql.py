"""Flink SQL of a family's job, written from its contract.

Every function returns one statement and none of them runs anything, so that the SQL can be read and tested
without a cluster.
"""

from collections.abc import Mapping
from datetime import timedelta

from contracts import (
    Aggregate,
    Aggregation,
    Column,
    ColumnType,
    ContractError,
    Family,
    Table,
    bronze_events,
    late_events,
    silver_1m,
    silver_5m,
)
from contracts.tables import (
    EARLIEST_EVENT_TIME,
    KAFKA_COLUMNS,
    REQUIRED_EVENT_COLUMNS,
    SCHEMA_VERSION,
    SLIDE,
    event_columns,
    wire_columns,
)
from streaming.resume import Resume, instant

FLINK_TYPES: dict[ColumnType, str] = {
    ColumnType.STRING: "STRING",
    ColumnType.BOOLEAN: "BOOLEAN",
    ColumnType.INT: "INT",
    ColumnType.LONG: "BIGINT",
    ColumnType.DOUBLE: "DOUBLE",
    ColumnType.TIMESTAMP: "TIMESTAMP_LTZ(6)",
    ColumnType.BINARY: "BYTES",
}

SOURCE_TABLE = "sensor_events"
DECODED_VIEW = "decoded_events"
VALID_VIEW = "valid_events"
"""Valid events, in the task of the source."""
BRONZE_VIEW = "bronze_events"
"""The same in a task of its own, so that closing files at a checkpoint does not hold up the hot path."""
DISTINCT_VIEW = "distinct_events"
"""Valid events without those whose identifier was seen before; the contract says how long one is remembered."""
ON_TIME_VIEW = "on_time_events"
CATALOG = "iceberg_catalog"
ROW_TIME = "row_time"
ARRIVAL = "arrival"
"""Processing time: the order in which the job sees events."""

_KAFKA_METADATA = {
    "kafka_partition": "INT METADATA FROM 'partition' VIRTUAL",
    "kafka_offset": "BIGINT METADATA FROM 'offset' VIRTUAL",
    "kafka_time": "TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL",
}


def literal(value: str) -> str:
    """Quote ``value`` as a SQL string literal."""
    return "'" + value.replace("'", "''") + "'"


def interval(length: timedelta) -> str:
    """Write ``length`` as a SQL interval literal with milliseconds."""
    hours, rest = divmod(length.seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    milliseconds = length.microseconds // 1000
    time = f"{hours:02}:{minutes:02}:{seconds:02}.{milliseconds:03}"
    return f"INTERVAL '{length.days} {time}' DAY TO SECOND(3)"


def options_clause(options: Mapping[str, str]) -> str:
    """Write ``options`` as they stand in a ``WITH`` clause."""
    return ",\n  ".join(f"{literal(key)} = {literal(value)}" for key, value in options.items())


def create_catalog(properties: Mapping[str, str]) -> str:
    """Register the Iceberg catalog; ``properties`` are those of Iceberg's ``RESTCatalog`` and ``S3FileIO``."""
    options = {"type": "iceberg", "catalog-type": "rest", **properties}
    return f"CREATE CATALOG {CATALOG} WITH (\n  {options_clause(options)}\n)"


def create_source(
    family: Family, *, bootstrap_servers: str, idle_timeout_s: int, resume: Resume | None = None
) -> str:
    """Declare the family's topic as a table with a watermark.

    A rowtime attribute has at most milliseconds in Flink SQL, so the watermark is on a column of its own and
    ``event_time`` keeps its microseconds. That column is null for what is no valid event, so that its time
    cannot push the watermark. What does not decode never gets here, see ``EventJsonFormatFactory``.
    """
    columns = [f"`{column.name}` {FLINK_TYPES[column.type]}" for column in (*wire_columns(family), SCHEMA_VERSION)]
    columns += [f"`{column.name}` {_KAFKA_METADATA[column.name]}" for column in KAFKA_COLUMNS]
    columns.append(
        f"`{ROW_TIME}` AS CASE WHEN {_is_valid(family)} THEN CAST(`event_time` AS TIMESTAMP_LTZ(3)) END"
    )
    mark = f"`{ROW_TIME}` - {interval(family.out_of_orderness)}"
    columns.append(f"WATERMARK FOR `{ROW_TIME}` AS {mark if resume is None else resume.watermark(mark)}")
    options = {
        "connector": "kafka",
        "topic": family.topic,
        "properties.bootstrap.servers": bootstrap_servers,
        "properties.group.id": family.job_name,
        # an aborted transaction is nothing that was published
        "properties.isolation.level": "read_committed",
        # the broker answers at once where there is much, else waits a little: a fetch costs more than an event,
        # also one that finds nothing
        "properties.fetch.min.bytes": "32768",
        "properties.fetch.max.wait.ms": "25",
        **({"scan.startup.mode": "earliest-offset"} if resume is None else resume.startup_options()),
        "scan.watermark.idle-timeout": f"{idle_timeout_s} s",
        "value.format": "event-json",
        "value.event-json.max-bytes": str(family.max_event_bytes),
        "value.event-json.timestamp-format.standard": "ISO-8601",
    }
    body = ",\n  ".join(columns)
    return f"CREATE TEMPORARY TABLE {SOURCE_TABLE} (\n  {body}\n) WITH (\n  {options_clause(options)}\n)"


def _is_valid(family: Family) -> str:
    """The conditions that an event meets; :mod:`dead_letters` names the one that a record does not meet."""
    versions = ", ".join(str(version) for version in family.schema_versions)
    return " AND ".join((
        *(f"`{name}` IS NOT NULL" for name in REQUIRED_EVENT_COLUMNS),
        f"(`{SCHEMA_VERSION.name}` IS NULL OR `{SCHEMA_VERSION.name}` IN ({versions}))",
        f"`event_time` >= {instant(EARLIEST_EVENT_TIME)}",
        f"`event_time` <= `kafka_time` + {interval(family.max_clock_ahead)}",
    ))  # fmt: skip


def create_decoded_view(family: Family) -> str:
    """Leave out what is no valid event, and the columns that no table has.

    A column that an event still carries under a former name is read from there.
    """
    columns = ", ".join((*map(_decoded, (*event_columns(family), *KAFKA_COLUMNS)), f"`{ROW_TIME}`"))
    return (
        f"CREATE TEMPORARY VIEW {DECODED_VIEW} AS SELECT {columns} FROM {SOURCE_TABLE} "
        f"WHERE `{ROW_TIME}` IS NOT NULL"
    )


def _decoded(column: Column) -> str:
    if not column.formerly:
        return f"`{column.name}`"
    names = ", ".join(f"`{name}`" for name in (column.name, *reversed(column.formerly)))
    return f"COALESCE({names}) AS `{column.name}`"


def create_on_time_view(family: Family, resume: Resume | None = None) -> str:
    """Leave out events whose one-minute window is closed.

    A window ``[start, end)`` fires when the watermark reaches ``end - 1 ms`` (Flink, ``TimeWindowUtil``). The
    watermark here is never behind that of the window operator downstream, so that what passes is counted.
    """
    return (
        f"CREATE TEMPORARY VIEW {ON_TIME_VIEW} AS SELECT * FROM {DISTINCT_VIEW} "
        f"WHERE ({_is_late(family, resume)}) IS NOT TRUE"
    )


def _is_late(family: Family, resume: Resume | None) -> str:
    last_instant = _tile(silver_1m(family)) - timedelta(milliseconds=1)
    is_behind = f"CURRENT_WATERMARK(`{ROW_TIME}`) >= FLOOR(`{ROW_TIME}` TO MINUTE) + {interval(last_instant)}"
    return is_behind if resume is None else resume.is_late(ROW_TIME, is_behind)


def _closing_watermark(resume: Resume | None) -> str:
    """The watermark that closed the window of a late event: at least the old job's, which closed what it wrote."""
    watermark = f"CURRENT_WATERMARK(`{ROW_TIME}`)"
    if resume is None or resume.closed_until is None:
        return watermark
    end = instant(resume.closed_until)
    return f"CASE WHEN {watermark} >= {end} THEN {watermark} ELSE {end} END"


def sink(table: Table) -> str:
    """Full name of ``table`` in the catalog."""
    return f"{CATALOG}.`{table.layer}`.`{table.name}`"


def _into(table: Table) -> str:
    """Sink with the columns that are written: by name, since the table may have others, and another order."""
    return f"{sink(table)} ({', '.join(f'`{column.name}`' for column in table.columns)})"


def insert_bronze(family: Family, resume: Resume | None = None) -> str:
    """Append every valid event with its place in Kafka."""
    table = bronze_events(family)
    columns = ",\n  ".join(f"CAST(`{column.name}` AS {FLINK_TYPES[column.type]})" for column in table.columns)
    unwritten = _unwritten_events(resume, " WHERE ")
    return f"INSERT INTO {_into(table)}\nSELECT\n  {columns}\nFROM {BRONZE_VIEW}{unwritten}"


def insert_late(family: Family, resume: Resume | None = None) -> str:
    """Append what comes after its window was closed, with the watermark that closed it."""
    watermark = _closing_watermark(resume)
    special = {
        "family": literal(family.name),
        "watermark": watermark,
        "late_by_s": f"TIMESTAMPDIFF(SECOND, `{ROW_TIME}`, {watermark})",
    }
    table = late_events((family,))
    columns = ",\n  ".join(
        f"CAST({special.get(column.name, f'`{column.name}`')} AS {FLINK_TYPES[column.type]})"
        for column in table.columns
    )
    unwritten = _unwritten_events(resume, " AND ")
    return (
        f"INSERT INTO {_into(table)}\nSELECT\n  {columns}\n"
        f"FROM {DISTINCT_VIEW}\nWHERE {_is_late(family, resume)}{unwritten}"
    )


def insert_tumbling(family: Family, resume: Resume | None = None) -> str:
    """Append the result of each tumbling one-minute window per sensor once the watermark has passed its end."""
    table = silver_1m(family)
    length = interval(_tile(table))
    return _insert_windows(
        family, table, f"TUMBLE(TABLE {ON_TIME_VIEW}, DESCRIPTOR(`{ROW_TIME}`), {length})", resume
    )


def insert_sliding(family: Family, resume: Resume | None = None) -> str:
    """Append the result of each sliding five-minute window per zone once the watermark has passed its end."""
    table = silver_5m(family)
    lengths = f"{interval(SLIDE)}, {interval(_tile(table))}"
    return _insert_windows(
        family, table, f"HOP(TABLE {ON_TIME_VIEW}, DESCRIPTOR(`{ROW_TIME}`), {lengths})", resume
    )


def _insert_windows(family: Family, table: Table, windows: str, resume: Resume | None) -> str:
    types = {column.name: column.type for column in event_columns(family)}
    columns = ",\n  ".join(f"{_window_column(column, types)} AS `{column.name}`" for column in table.columns)
    subject = table.key[0]
    return (
        f"INSERT INTO {_into(table)}\nSELECT\n  {columns}\n"
        f"FROM TABLE({windows})\n"
        f"GROUP BY `{subject}`, window_start, window_end"
        + ("" if resume is None else f"\nHAVING {_behind_the_aggregation(resume.unwritten_windows())}")
    )


def _behind_the_aggregation(condition: str) -> str:
    """A condition of windows that the planner cannot pull in front of the aggregation: see :func:`aggregate`."""
    return f"{condition} OR COUNT(`event_id`) < 0"


def _unwritten_events(resume: Resume | None, keyword: str) -> str:
    return "" if resume is None else f"{keyword}{resume.unwritten_events()}"


def _tile(table: Table) -> timedelta:
    if table.tile is None:
        raise ValueError(f"{table.identifier} declares no tile")
    return table.tile


def _window_column(column: Column, types: Mapping[str, ColumnType]) -> str:
    if column.aggregation is None:
        return f"CAST(`{column.name}` AS {FLINK_TYPES[column.type]})"
    return aggregate(column.aggregation, types[column.aggregation.column])


def aggregate(aggregation: Aggregation, type_: ColumnType) -> str:
    """Write an aggregation of a column of ``type_`` as a SQL expression."""
    name = f"`{aggregation.column}`"
    match aggregation.function:
        case Aggregate.COUNT:
            return f"COUNT({name})"
        case Aggregate.MIN:
            return f"MIN({name})"
        case Aggregate.MAX:
            return f"MAX({name})"
        case Aggregate.MEAN:
            # AVG of a BIGINT is a BIGINT in Flink. A cast of a DOUBLE would do nothing but keep the planner from
            # assigning events to windows in the aggregation, and each would be five rows, one for each window, as
            # it would with a condition of windows in front of the aggregation
            return f"AVG({name})" if type_ is ColumnType.DOUBLE else f"AVG(CAST({name} AS DOUBLE))"
        case Aggregate.LAST:
            return f"LAST_VALUE({name})"
        case Aggregate.INCREASE | Aggregate.SUM | Aggregate.WEIGHTED_MEAN:
            raise ContractError(f"{aggregation.function} of {name}: no stream computes it")
