"""Silver from bronze, computed by DuckDB: what the windows must hold, written from the contract alone.

An event counts once, where it stands first in its partition, unless it came after its window was closed. Its
arrival is the order of its offset, because a sensor keeps its partition.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa

from contracts import Table
from contracts.tables import SLIDE
from resources.arrow_times import without_zone, without_zones
from resources.duckdb_windows import aggregate, differs

ARRIVAL = "kafka_offset"
PLACE = ("kafka_partition", "kafka_offset")


@dataclass(frozen=True, slots=True)
class WindowDifference:
    """A window that is not what its events make of it.

    ``columns`` holds those that differ, with the value in the table and the recomputed one; it is empty where the
    window is only in the table (``extra``) or only in the recomputation (``missing``).
    """

    subject: str | None
    window_start: datetime
    extra: bool
    missing: bool
    columns: Mapping[str, tuple[Any, Any]]

    def __str__(self) -> str:
        at = f"{self.window_start:%Y-%m-%d %H:%M:%S}"
        return f"{self.subject or 'without zone'} at {at} {self.how}"

    @property
    def how(self) -> str:
        """What is wrong with it, in a few words."""
        return "should not be there" if self.extra else "is missing" if self.missing else "has other values"


def event_columns_of(declared: Table) -> tuple[str, ...]:
    """Columns of bronze that the windows of ``declared`` are recomputed from."""
    aggregated = (column.aggregation.column for column in declared.columns if column.aggregation is not None)
    return tuple(dict.fromkeys(("event_id", "event_time", declared.key[0], *PLACE, *aggregated)))


def slide_of(declared: Table) -> timedelta:
    """How far apart the windows of ``declared`` start; a tumbling window slides by its own length.

    Raises:
        ValueError: the table is none of windows.
    """
    if declared.tile is None:
        raise ValueError(f"{declared.identifier} is no table of windows")
    return SLIDE if declared.key[0] == "zone" else declared.tile


def load(database: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> None:
    """Make ``rows`` the table ``name``."""
    database.register(f"{name}_rows", without_zones(rows))
    database.execute(f"CREATE OR REPLACE TABLE {name} AS FROM {name}_rows")
    database.unregister(f"{name}_rows")


def load_events(database: duckdb.DuckDBPyConnection, *, bronze: pa.Table, late: pa.Table) -> None:
    """Make the tables ``bronze`` and ``late``, ``firsts`` without copies, and ``on_time``, which windows count."""
    load(database, "bronze", bronze)
    load(database, "late", late)
    database.execute("""
        CREATE TABLE firsts AS FROM bronze
        QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY kafka_partition, kafka_offset) = 1
    """)
    database.execute("""
        CREATE TABLE on_time AS
        SELECT firsts.* FROM firsts ANTI JOIN late USING (kafka_partition, kafka_offset)
    """)


def differing_windows(
    database: duckdb.DuckDBPyConnection, declared: Table, windows: pa.Table, since: datetime, until: datetime
) -> list[WindowDifference]:
    """Windows between ``since`` and ``until`` that differ from their recomputation out of :func:`load_events`.

    Args:
        database: holds the events of at least that interval.
        declared: the contract of the table of windows.
        windows: its rows.
        since: start of the first window.
        until: end of the last window.

    Raises:
        ValueError: the table is none of windows.
    """
    slide, tile = slide_of(declared), declared.tile or timedelta(0)
    load(database, "windows", windows)
    subject = declared.key[0]
    values = [column for column in declared.columns if column.aggregation is not None]
    wanted = ", ".join(
        f"{aggregate(column.aggregation, ARRIVAL)} AS {column.name}" for column in values if column.aggregation
    )
    differing = ", ".join(differs(column) for column in values)
    both = ", ".join(f"f.{column.name}, e.{column.name}" for column in values)
    found = database.execute(
        f"""
        WITH wanted AS (
            SELECT {subject}, date_trunc('minute', event_time) - step * to_seconds(?) AS window_start, {wanted}
            FROM on_time, range(?) AS steps(step) GROUP BY ALL
        ), expected AS (
            FROM wanted WHERE window_start >= ? AND window_start + to_seconds(?) <= ?
        ), found AS (
            FROM windows WHERE window_start >= ? AND window_end <= ?
        ), compared AS (
            SELECT coalesce(e.{subject}, f.{subject}) AS subject,
                   coalesce(e.window_start, f.window_start) AS window_start,
                   e.window_start IS NULL AS extra, f.window_start IS NULL AS missing,
                   [{differing}] AS differing, {both}
            FROM expected e FULL JOIN found f
              ON e.{subject} IS NOT DISTINCT FROM f.{subject} AND e.window_start = f.window_start
        )
        FROM compared WHERE extra OR missing OR list_bool_or(differing)
        ORDER BY subject, window_start
        """,  # noqa: S608 - names from contracts
        [
            slide.total_seconds(), tile // slide, without_zone(since), tile.total_seconds(), without_zone(until),
            without_zone(since), without_zone(until),
        ],
    ).fetchall()  # fmt: skip
    names = [column.name for column in values]
    return [
        WindowDifference(
            of, start, extra, missing, {} if extra or missing else dict(_columns(names, differs_, pairs))
        )
        for of, start, extra, missing, differs_, *pairs in found
    ]


def _columns(names: list[str], differing: list[bool], pairs: list[Any]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for number, name in enumerate(names):
        if differing[number]:
            yield name, (pairs[2 * number], pairs[2 * number + 1])
