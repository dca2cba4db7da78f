"""Recomputes a range of days of a window table with Spark."""

from dataclasses import dataclass
from datetime import date, datetime

from pyiceberg.catalog import Catalog
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812  the name that Spark's documentation uses

from contracts import Table
from lakehouse_assets.gold.query import events_query, time_range, windows_query
from resources.branches import branch_head
from resources.spark import connect_catalog
from settings import Settings

RUN_PROPERTY = "lakehouse.run-id"
"""Property of a snapshot that names the run which wrote it."""


@dataclass(frozen=True, slots=True)
class Recomputed:
    """What one recomputation read and wrote; ``days`` holds rows and distinct events of each day."""

    snapshot_read: int | None
    snapshot_written: int
    events_read: int
    days: dict[date, tuple[int, int]]

    @property
    def duplicates_dropped(self) -> int:
        """Copies of events that did not count."""
        return self.events_read - sum(events for _, events in self.days.values())


def recompute(
    session: SparkSession,
    catalog: Catalog,
    settings: Settings,
    *,
    declared: Table,
    upstream: Table,
    start: datetime,
    end: datetime,
    branch: str,
    run_id: str,
) -> Recomputed:
    """Compute the windows of ``[start, end)`` from one snapshot of ``upstream`` and overwrite it on ``branch``.

    Days without events end up empty. ``start`` and ``end`` are midnights in UTC.
    """
    connect_catalog(session, settings)
    current = catalog.load_table(upstream.identifier).current_snapshot()
    source = f"{settings.catalog_name}.{upstream.identifier}"
    if current is not None:
        source += f" VERSION AS OF {current.snapshot_id}"
    target = f"{settings.catalog_name}.{declared.identifier}"
    session.sql(events_query(declared, source, start, end)).createOrReplaceTempView("events")
    (
        session.sql(windows_query(declared, "events"))
        .writeTo(f"{target}.branch_{branch}")
        # the default, range, would compute everything twice to sample it
        .option("distribution-mode", "hash")
        .option(f"snapshot-property.{RUN_PROPERTY}", run_id)
        .overwrite(F.expr(time_range(declared.event_time, start, end)))
    )
    written = branch_head(catalog.load_table(declared.identifier), branch)
    return Recomputed(
        snapshot_read=None if current is None else current.snapshot_id,
        snapshot_written=written.snapshot_id,
        events_read=_count(session, source, time_range(upstream.event_time, start, end)),
        days=_rows_by_day(session, declared, f"{target} VERSION AS OF {written.snapshot_id}", start, end),
    )


def _count(session: SparkSession, source: str, condition: str) -> int:
    # whole days: answered from the metadata of the files
    [row] = session.sql(f"SELECT count(*) AS events FROM {source} WHERE {condition}").collect()  # noqa: S608
    events: int = row["events"]
    return events


def _rows_by_day(
    session: SparkSession, declared: Table, source: str, start: datetime, end: datetime
) -> dict[date, tuple[int, int]]:
    rows = session.sql(
        f"SELECT to_date({declared.event_time}) AS day, count(*) AS row_count, sum(event_count) AS events "  # noqa: S608
        f"FROM {source} WHERE {time_range(declared.event_time, start, end)} GROUP BY 1"
    ).collect()
    return {row["day"]: (row["row_count"], row["events"]) for row in rows}
