"""Flink SQL of the hot path: what goes to a family's compacted topic as soon as it is read.

Two kinds of records share the topic, told apart by the prefix of their key:

* ``sensor:<sensor_id>``: a reading, the event as it stands in bronze. Written without state, at least once; the
  reader keeps the one with the greatest event time.
* ``zone:<zone>:<minute>``: the aggregates so far of a zone's events in one minute of event time. Written when they
  change, at most every :data:`ZONE_INTERVAL`; the reader keeps the one with the greatest count, and five
  consecutive minutes make a rolling five-minute aggregate.

Only what is not stale when it arrives gets here, so that a replayed history does not pass for the present.
"""

from datetime import timedelta

from contracts import Column, Family
from contracts.tables import KAFKA_COLUMNS, event_columns
from streaming.sql import ARRIVAL, FLINK_TYPES, ON_TIME_VIEW, ROW_TIME, VALID_VIEW, interval, options_clause

READINGS_TABLE = "hot_readings"
ZONES_TABLE = "hot_zones"
KEY = "hot_key"
ZONE_INTERVAL = timedelta(seconds=1)
"""In processing time; each costs a task as much as thousands of events."""

# not compressed: a batch of a few milliseconds and one partition is a few records, and costs an encoder and its
# buffers of 128 KiB
_PRODUCER = {"linger.ms": "5", "batch.size": "65536"}


def create_readings_sink(family: Family, *, bootstrap_servers: str) -> str:
    """Declare the family's hot topic as a sink of readings."""
    columns = [
        f"`{column.name}` {FLINK_TYPES[column.type]}" for column in (*event_columns(family), *KAFKA_COLUMNS)
    ]
    options = {
        "connector": "kafka",
        **_sink_options(family, bootstrap_servers),
        "key.fields": KEY,
        "value.fields-include": "EXCEPT_KEY",
    }
    return _create(READINGS_TABLE, (f"`{KEY}` STRING", *columns), options)


def create_zones_sink(family: Family, *, bootstrap_servers: str) -> str:
    """Declare the family's hot topic as a sink of running aggregates of zones."""
    columns = [f"`{name}` {type_}" for name, type_, _, _ in _zone_columns(family)]
    options = {
        "connector": "upsert-kafka",
        **_sink_options(family, bootstrap_servers),
        "value.fields-include": "EXCEPT_KEY",
    }
    key = f"`{KEY}` STRING"
    return _create(ZONES_TABLE, (key, *columns, f"PRIMARY KEY (`{KEY}`) NOT ENFORCED"), options)


def insert_readings(family: Family) -> str:
    """Publish each valid event that is not stale as the reading of its sensor."""
    columns = ",\n  ".join(
        f"CAST(`{column.name}` AS {FLINK_TYPES[column.type]})" for column in _reading_columns(family)
    )
    return (
        f"INSERT INTO {READINGS_TABLE}\nSELECT\n  CONCAT('sensor:', `sensor_id`),\n  {columns}\n"
        f"FROM {VALID_VIEW}\nWHERE {_is_fresh(family)}"
    )


def insert_zones(family: Family) -> str:
    """Publish the aggregates so far of each zone and minute.

    Windows in processing time sum up what came within :data:`ZONE_INTERVAL`, so that the running aggregates
    change, and are published, that often rather than with every event.
    """
    columns = _zone_columns(family)[2:]
    partial = ",\n    ".join(f"{first} AS `{name}`" for name, _, first, _ in columns)
    total = ",\n  ".join(f"{second} AS `{name}`" for name, _, _, second in columns)
    return (
        f"INSERT INTO {ZONES_TABLE}\nSELECT\n"
        "  CONCAT('zone:', `zone`, ':', DATE_FORMAT(`minute`, 'yyyy-MM-dd''T''HH:mm')),\n"
        f"  `zone`,\n  `minute`,\n  {total}\nFROM (\n  SELECT\n    `zone`,\n    `minute`,\n    {partial}\n"
        f"  FROM TABLE(TUMBLE(TABLE hot_events, DESCRIPTOR(`{ARRIVAL}`), {interval(ZONE_INTERVAL)}))\n"
        "  GROUP BY `zone`, `minute`, window_start, window_end\n)\nGROUP BY `zone`, `minute`"
    )


def create_hot_events_view(family: Family) -> str:
    """Events that the running aggregates of zones count: on time, not stale, with their minute."""
    return (
        f"CREATE TEMPORARY VIEW hot_events AS SELECT *, FLOOR(`{ROW_TIME}` TO MINUTE) AS `minute`\n"
        f"FROM {ON_TIME_VIEW} WHERE `zone` IS NOT NULL AND {_is_fresh(family)}"
    )


def _is_fresh(family: Family) -> str:
    return f"`event_time` > `kafka_time` - {interval(family.stale_after)}"


def _reading_columns(family: Family) -> tuple[Column, ...]:
    return (*event_columns(family), *KAFKA_COLUMNS)


def _zone_columns(family: Family) -> list[tuple[str, str, str, str]]:
    """Name, type, aggregate of events, aggregate of those aggregates."""
    columns = [
        ("zone", "STRING", "", ""),
        ("minute", "TIMESTAMP_LTZ(3)", "", ""),
        ("event_count", "BIGINT", "COUNT(*)", "SUM(`event_count`)"),
        ("newest_event", "TIMESTAMP_LTZ(6)", "MAX(`event_time`)", "MAX(`newest_event`)"),
    ]
    for measure in family.measures:
        name, type_ = measure.name, FLINK_TYPES[measure.type]
        columns += [
            (f"{name}_count", "BIGINT", f"COUNT(`{name}`)", f"SUM(`{name}_count`)"),
            (f"{name}_sum", "DOUBLE", f"SUM(CAST(`{name}` AS DOUBLE))", f"SUM(`{name}_sum`)"),
            (f"{name}_min", type_, f"MIN(`{name}`)", f"MIN(`{name}_min`)"),
            (f"{name}_max", type_, f"MAX(`{name}`)", f"MAX(`{name}_max`)"),
        ]
    return columns


def _sink_options(family: Family, bootstrap_servers: str) -> dict[str, str]:
    return {
        "topic": family.hot_topic,
        "properties.bootstrap.servers": bootstrap_servers,
        **{f"properties.{name}": value for name, value in _PRODUCER.items()},
        "sink.delivery-guarantee": "at-least-once",
        "key.format": "raw",
        "value.format": "event-json",
    }


def _create(name: str, columns: tuple[str, ...], options: dict[str, str]) -> str:
    body = ",\n  ".join(columns)
    return f"CREATE TEMPORARY TABLE {name} (\n  {body}\n) WITH (\n  {options_clause(options)}\n)"
