"""Flink SQL of a family's job, written from its contract.

Every function returns one statement and none of them runs anything, so that the SQL can be read and tested
without a cluster.
"""

from collections.abc import Mapping
from datetime import timedelta

from contracts import Aggregate, Aggregation, Column, ColumnType, Family, Table, bronze_events, silver_1m
from contracts.tables import KAFKA_COLUMNS, REQUIRED_EVENT_COLUMNS, event_columns

FLINK_TYPES: dict[ColumnType, str] = {
    ColumnType.STRING: "STRING",
    ColumnType.BOOLEAN: "BOOLEAN",
    ColumnType.INT: "INT",
    ColumnType.LONG: "BIGINT",
    ColumnType.DOUBLE: "DOUBLE",
    ColumnType.TIMESTAMP: "TIMESTAMP_LTZ(6)",
}

SOURCE_TABLE = "sensor_events"
VALID_VIEW = "valid_events"
CATALOG = "iceberg_catalog"
ROW_TIME = "row_time"

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


def _options(options: Mapping[str, str]) -> str:
    return ",\n  ".join(f"{literal(key)} = {literal(value)}" for key, value in options.items())


def create_catalog(properties: Mapping[str, str]) -> str:
    """Register the Iceberg catalog; ``properties`` are those of Iceberg's ``RESTCatalog`` and ``S3FileIO``."""
    options = {"type": "iceberg", "catalog-type": "rest", **properties}
    return f"CREATE CATALOG {CATALOG} WITH (\n  {_options(options)}\n)"


def create_source(family: Family, *, bootstrap_servers: str, idle_timeout_s: int, parallelism: int) -> str:
    """Declare the family's topic as a table with a watermark.

    A rowtime attribute has at most milliseconds in Flink SQL, so the watermark is on a column of its own and
    ``event_time`` keeps its microseconds. ``ignore-parse-errors`` turns a field that cannot be parsed into null
    and a record that cannot be parsed into nothing: neither stops the job.

    ``parallelism`` must differ from that of the rest of the job. The JSON format hands a row on from within the
    ``try`` whose ``catch (Throwable)`` is what ``ignore-parse-errors`` means
    (``JsonParserRowDataDeserializationSchema`` of Flink 2.1): where a sink is chained to the source, an error of
    the sink is swallowed and the row is lost. Operators of different parallelism are never chained.
    """
    columns = [f"`{column.name}` {FLINK_TYPES[column.type]}" for column in event_columns(family)]
    columns += [f"`{column.name}` {_KAFKA_METADATA[column.name]}" for column in KAFKA_COLUMNS]
    columns.append(f"`{ROW_TIME}` AS CAST(`event_time` AS TIMESTAMP_LTZ(3))")
    columns.append(f"WATERMARK FOR `{ROW_TIME}` AS `{ROW_TIME}` - {interval(family.out_of_orderness)}")
    options = {
        "connector": "kafka",
        "topic": family.topic,
        "properties.bootstrap.servers": bootstrap_servers,
        "properties.group.id": f"lakehouse-{family.name}",
        "scan.startup.mode": "earliest-offset",
        "scan.parallelism": str(parallelism),
        "scan.watermark.idle-timeout": f"{idle_timeout_s} s",
        "value.format": "json",
        "value.json.ignore-parse-errors": "true",
        "value.json.timestamp-format.standard": "ISO-8601",
    }
    body = ",\n  ".join(columns)
    return f"CREATE TEMPORARY TABLE {SOURCE_TABLE} (\n  {body}\n) WITH (\n  {_options(options)}\n)"


def create_valid_view() -> str:
    """Leave out what lacks a column that every event must have."""
    conditions = " AND ".join(f"`{name}` IS NOT NULL" for name in REQUIRED_EVENT_COLUMNS)
    return f"CREATE TEMPORARY VIEW {VALID_VIEW} AS SELECT * FROM {SOURCE_TABLE} WHERE {conditions}"


def sink(table: Table) -> str:
    """Full name of ``table`` in the catalog."""
    return f"{CATALOG}.`{table.layer}`.`{table.name}`"


def insert_bronze(family: Family) -> str:
    """Append every valid event with its place in Kafka."""
    table = bronze_events(family)
    columns = ",\n  ".join(f"CAST(`{column.name}` AS {FLINK_TYPES[column.type]})" for column in table.columns)
    return f"INSERT INTO {sink(table)}\nSELECT\n  {columns}\nFROM {VALID_VIEW}"


def insert_windows(family: Family) -> str:
    """Append the result of each tumbling one-minute window per sensor once the watermark has passed its end."""
    table = silver_1m(family)
    if table.tile is None:
        raise ValueError(f"{table.identifier} declares no tile")
    columns = ",\n  ".join(f"{_window_column(column)} AS `{column.name}`" for column in table.columns)
    return (
        f"INSERT INTO {sink(table)}\nSELECT\n  {columns}\n"
        f"FROM TABLE(TUMBLE(TABLE {VALID_VIEW}, DESCRIPTOR(`{ROW_TIME}`), "
        f"{interval(table.tile)}))\n"
        "GROUP BY sensor_id, window_start, window_end"
    )


def _window_column(column: Column) -> str:
    if column.aggregation is None:
        return f"CAST(`{column.name}` AS {FLINK_TYPES[column.type]})"
    return _aggregate(column.aggregation)


def _aggregate(aggregation: Aggregation) -> str:
    name = f"`{aggregation.column}`"
    match aggregation.function:
        case Aggregate.COUNT:
            return f"COUNT({name})"
        case Aggregate.MIN:
            return f"MIN({name})"
        case Aggregate.MAX:
            return f"MAX({name})"
        case Aggregate.MEAN:
            # AVG of a BIGINT is a BIGINT in Flink
            return f"AVG(CAST({name} AS DOUBLE))"
        case Aggregate.LAST:
            return f"LAST_VALUE({name})"
