"""An hourly gold table of one day, computed by DuckDB from the Parquet files of bronze, and its comparison."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from contracts import Aggregate, Table
from resources.arrow_times import without_zones
from resources.duckdb_windows import aggregate, differs

ORDER = "event_time, kafka_offset, kafka_partition"
MEMORY_LIMIT = "1GB"
"""As much as Spark's driver has; what does not fit goes to disk."""
EVIDENCE = 5


def open_database(scratch: Path, threads: int) -> duckdb.DuckDBPyConnection:
    """A database in memory that computes with ``threads`` threads and spills to ``scratch``."""
    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")
    database.execute(f"SET threads TO {threads}")
    database.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
    database.execute(f"SET temp_directory = '{scratch}'")
    return database


def gold_query(declared: Table, events: str) -> str:
    """Rows of the window table ``declared`` from the ``events`` of one day (anything to select from).

    An event counts once, where it stands first: lowest partition, then lowest offset. A counter has grown by what
    lies between two of its readings, and one that fell has grown from zero.
    """
    if declared.tile is None:
        raise ValueError(f"{declared.identifier} is no table of windows")
    unit = f"INTERVAL '{int(declared.tile.total_seconds())} seconds'"
    computed = [column for column in declared.columns if column.aggregation is not None]
    values = ", ".join(
        f"{aggregate(column.aggregation, ORDER)} AS {column.name}" for column in computed if column.aggregation
    )
    needed = dict.fromkeys(column.aggregation.column for column in computed if column.aggregation)
    columns = ", ".join(
        dict.fromkeys(("event_id", "sensor_id", "event_time", "kafka_partition", "kafka_offset", *needed))
    )
    return f"""
        WITH firsts AS (
            SELECT {columns} FROM {events}
            QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY kafka_partition, kafka_offset) = 1
        ) {_growths(declared)}
        SELECT sensor_id, time_bucket({unit}, event_time) AS window_start,
               time_bucket({unit}, event_time) + {unit} AS window_end, {values}
        FROM {"grown" if _counters(declared) else "firsts"} GROUP BY ALL
    """  # noqa: S608 - names from contracts


def differing_rows(
    database: duckdb.DuckDBPyConnection, declared: Table, expected: str, found: pa.Table
) -> Sequence[str]:
    """Rows of ``declared`` that differ from those of the query ``expected``, or stand in one only; some of them.

    Every column is compared, sums of floating-point numbers up to their last digits.
    """
    database.register("found_rows", without_zones(found))
    different = "\n OR ".join(f"({differs(column)})" for column in declared.columns)
    rows = database.execute(f"""
        WITH e AS ({expected}), f AS (FROM found_rows)
        SELECT coalesce(e.sensor_id, f.sensor_id) || ' at ' || coalesce(e.window_start, f.window_start)
        FROM e FULL JOIN f ON e.sensor_id = f.sensor_id AND e.window_start = f.window_start
        WHERE e.sensor_id IS NULL OR f.sensor_id IS NULL OR {different}
        ORDER BY 1 LIMIT {EVIDENCE}
    """).fetchall()  # noqa: S608 - names from contracts
    database.unregister("found_rows")
    return [row for (row,) in rows]


def naive_events(files: Sequence[Path], start: datetime, end: datetime) -> str:
    """Subquery of the events of ``[start, end)`` in Parquet files, instants as plain timestamps in UTC."""
    names = ", ".join(f"'{file}'" for file in files)
    first, last = (f"TIMESTAMPTZ '{moment.isoformat()}'" for moment in (start, end))
    rows = f"FROM read_parquet([{names}]) WHERE event_time >= {first} AND event_time < {last}"
    return f"(SELECT * REPLACE (timezone('UTC', event_time) AS event_time) {rows})"


def _counters(declared: Table) -> list[str]:
    return [
        column.aggregation.column
        for column in declared.columns
        if column.aggregation is not None and column.aggregation.function is Aggregate.INCREASE
    ]


def _growths(declared: Table) -> str:
    """Common table ``grown``: ``firsts`` with the growth of each counter; nothing where there is none."""
    counters = _counters(declared)
    if not counters:
        return ""
    growths = ", ".join(
        f"CASE WHEN {name} >= before_{name} THEN {name} - before_{name} "
        f"WHEN before_{name} IS NOT NULL THEN {name} END AS {name}_growth"
        for name in counters
    )
    befores = ", ".join(
        f"lag({name} IGNORE NULLS) OVER (PARTITION BY sensor_id ORDER BY {ORDER}) AS before_{name}"
        for name in counters
    )
    return f", read AS (SELECT *, {befores} FROM firsts), grown AS (SELECT *, {growths} FROM read)"  # noqa: S608
