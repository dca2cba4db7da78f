"""What bronze of one family says after a scenario, computed by DuckDB: its counts, its windows, its readings."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

import duckdb
import pyarrow as pa

from contracts import Table
from resources.arrow_times import without_zone
from resources.window_recomputation import differing_windows, load, load_events


@dataclass(frozen=True, slots=True)
class Tables:
    """Rows of one family in an interval: bronze, its late events, and its dead letters' places."""

    bronze: pa.Table
    late: pa.Table
    dead_letters: pa.Table


@dataclass(frozen=True, slots=True)
class MinuteCount:
    """One minute of event time whose events are not all accounted for."""

    minute: datetime
    distinct: int
    counted: int
    late: int

    def __str__(self) -> str:
        return (
            f"minute {self.minute:%Y-%m-%dT%H:%M}Z has {self.distinct} distinct events, but {self.counted} in "
            f"windows and {self.late} late"
        )


class Recomputation:
    """Bronze of one family in DuckDB; close it after use."""

    def __init__(self, tables: Tables) -> None:
        self._database = duckdb.connect()
        self._database.execute("SET threads TO 2")
        load_events(self._database, bronze=tables.bronze, late=tables.late)
        load(self._database, "dead_letters", tables.dead_letters)

    def close(self) -> None:
        """End the database."""
        self._database.close()

    def counts(self, first_offsets: Mapping[int, int]) -> tuple[int, int, int]:
        """Rows of bronze from ``first_offsets`` on, their distinct places, and dead letters from there on."""
        beginnings = ", ".join(f"({partition}, {offset})" for partition, offset in first_offsets.items())
        found = self._database.execute(f"""
            WITH beginnings AS (FROM (VALUES {beginnings}) AS t(kafka_partition, beginning)),
            places AS (SELECT kafka_partition, kafka_offset FROM bronze JOIN beginnings USING (kafka_partition)
                       WHERE kafka_offset >= beginning)
            SELECT (SELECT count(*) FROM places),
                   (SELECT count(*) FROM (SELECT DISTINCT * FROM places)),
                   (SELECT count(DISTINCT (kafka_partition, kafka_offset)) FROM dead_letters
                    JOIN beginnings USING (kafka_partition) WHERE kafka_offset >= beginning)
        """).fetchone()  # noqa: S608 - numbers
        if found is None:
            raise RuntimeError("a query of counts gave no row")
        rows, distinct, dead = found
        return rows, distinct, dead

    def minutes(self, first_offsets: Mapping[int, int]) -> dict[str, int]:
        """Distinct places in bronze from ``first_offsets`` on, by minute of event time."""
        beginnings = ", ".join(f"({partition}, {offset})" for partition, offset in first_offsets.items())
        found = self._database.execute(f"""
            SELECT strftime(date_trunc('minute', event_time), '%Y-%m-%dT%H:%MZ'),
                   count(DISTINCT (kafka_partition, kafka_offset))
            FROM bronze JOIN (VALUES {beginnings}) AS t(kafka_partition, beginning) USING (kafka_partition)
            WHERE kafka_offset >= beginning GROUP BY ALL
        """).fetchall()  # noqa: S608 - numbers
        return dict(found)

    def unaccounted(self, windows: pa.Table, since: datetime, until: datetime) -> list[MinuteCount]:
        """Minutes in ``[since, until)`` where distinct events are not those in windows and the late ones."""
        load(self._database, "windows", windows)
        found = self._database.execute(
            """
            WITH parts AS (
                SELECT date_trunc('minute', event_time) AS minute, 1 AS n, 0 AS counted, 0 AS late FROM firsts
                UNION ALL SELECT window_start, 0, event_count, 0 FROM windows
                UNION ALL SELECT date_trunc('minute', event_time), 0, 0, 1 FROM late
            )
            SELECT minute, sum(n)::BIGINT AS n, sum(counted)::BIGINT AS counted, sum(late)::BIGINT AS late
            FROM parts WHERE minute >= ? AND minute < ? GROUP BY minute HAVING n <> counted + late ORDER BY minute
            """,
            [without_zone(since), without_zone(until)],
        ).fetchall()
        return [MinuteCount(*row) for row in found]

    def differing_windows(self, declared: Table, windows: pa.Table, since: datetime, until: datetime) -> list[str]:
        """Windows between ``since`` and ``until`` that differ from their recomputation, and how."""
        return [str(entry) for entry in differing_windows(self._database, declared, windows, since, until)]

    def newest_readings(self) -> dict[str, str]:
        """Identifier of the newest event of each sensor; of equal times the one with the later place."""
        found = self._database.execute("""
            SELECT sensor_id, event_id FROM bronze
            QUALIFY row_number() OVER (
                PARTITION BY sensor_id ORDER BY event_time DESC, kafka_offset DESC, kafka_partition DESC) = 1
        """).fetchall()
        return dict(found)


def recomputation(tables: Tables) -> "closing[Recomputation]":
    """The recomputation of ``tables`` as a context that ends its database."""
    return closing(Recomputation(tables))
