"""Recomputes a range of days of a gold table with Spark."""

from dataclasses import dataclass
from datetime import date, datetime

from pyiceberg.catalog import Catalog
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812  the name that Spark's documentation uses

from contracts import Table
from lakehouse_assets.gold.recipe import Recipe, time_range
from resources.branches import branch_head
from resources.snapshots import RUN_PROPERTY
from resources.spark import connect_catalog
from settings import Settings

COUNTED = "event_count"


@dataclass(frozen=True, slots=True)
class Recomputed:
    """What one recomputation read and wrote.

    ``snapshots_read`` and ``rows_read`` go by the identifiers of the inputs; ``days`` holds the rows of each day,
    and the sum of their events where rows count events.
    """

    snapshots_read: dict[str, int | None]
    rows_read: dict[str, int]
    snapshot_written: int
    days: dict[date, tuple[int, int | None]]


def recompute(
    session: SparkSession,
    catalog: Catalog,
    settings: Settings,
    recipe: Recipe,
    *,
    start: datetime,
    end: datetime,
    branch: str,
    run_id: str,
) -> Recomputed:
    """Compute the rows of ``[start, end)``, each input at one snapshot, and overwrite them on ``branch``.

    Days that nothing comes of end up empty. ``start`` and ``end`` are midnights in UTC.
    """
    connect_catalog(session, settings)
    declared, target = recipe.declared, f"{settings.catalog_name}.{recipe.declared.identifier}"
    snapshots: dict[str, int | None] = {}
    rows_read: dict[str, int] = {}
    for read in recipe.inputs:
        identifier = read.table.identifier
        current = catalog.load_table(identifier).current_snapshot()
        snapshots[identifier] = None if current is None else current.snapshot_id
        source = f"{settings.catalog_name}.{identifier}"
        if current is not None:
            source += f" VERSION AS OF {current.snapshot_id}"
        session.sql(read.query(source, start, end)).createOrReplaceTempView(read.view)
        rows_read[identifier] = _count(session, source, time_range(read.table.event_time, start, end))
    (
        session.sql(recipe.query(start, end))
        .writeTo(f"{target}.branch_{branch}")
        # the default, range, would compute everything twice to sample it
        .option("distribution-mode", "hash")
        .option(f"snapshot-property.{RUN_PROPERTY}", run_id)
        .overwrite(F.expr(time_range(declared.event_time, start, end)))
    )
    written = branch_head(catalog.load_table(declared.identifier), branch)
    return Recomputed(
        snapshots_read=snapshots,
        rows_read=rows_read,
        snapshot_written=written.snapshot_id,
        days=_rows_by_day(session, declared, f"{target} VERSION AS OF {written.snapshot_id}", start, end),
    )


def _count(session: SparkSession, source: str, condition: str) -> int:
    # whole days: answered from the metadata of the files
    [row] = session.sql(f"SELECT count(*) AS row_count FROM {source} WHERE {condition}").collect()  # noqa: S608
    count: int = row["row_count"]
    return count


def _rows_by_day(
    session: SparkSession, declared: Table, source: str, start: datetime, end: datetime
) -> dict[date, tuple[int, int | None]]:
    events = f"sum({COUNTED})" if COUNTED in {column.name for column in declared.columns} else "NULL"
    rows = session.sql(
        f"SELECT to_date({declared.event_time}) AS day, count(*) AS row_count, {events} AS events "  # noqa: S608
        f"FROM {source} WHERE {time_range(declared.event_time, start, end)} GROUP BY 1"
    ).collect()
    return {row["day"]: (row["row_count"], row["events"]) for row in rows}
