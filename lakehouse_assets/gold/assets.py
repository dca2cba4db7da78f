"""Hourly tables: recomputed from bronze a range of days at a time, and overwritten whole."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from contracts import Family, Table, bronze_events, gold_hourly
from lakehouse_assets.describe import table_spec
from lakehouse_assets.gold.partitions import DAILY
from lakehouse_assets.gold.query import events_query, time_range, windows_query
from settings import Settings

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyspark.sql import SparkSession

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


def hourly_asset(member: Family) -> dg.AssetsDefinition:
    """``gold.<family>_hourly`` as a Spark asset with a partition a day; a range of days is one run."""
    declared = gold_hourly(member)
    upstream = bronze_events(member)
    spec = table_spec(declared)

    @dg.asset(
        key=spec.key,
        deps=spec.deps,
        description=spec.description,
        group_name=spec.group_name,
        kinds=spec.kinds,
        owners=spec.owners,
        tags=spec.tags,
        freshness_policy=spec.freshness_policy,
        metadata=spec.metadata,
        partitions_def=DAILY,
        backfill_policy=dg.BackfillPolicy.single_run(),
        required_resource_keys={"settings", "catalog", "spark"},
    )
    def hourly(context: dg.AssetExecutionContext) -> None:
        days = context.partition_keys  # raises for a day that is no partition, before anything is written
        window = context.partition_time_window
        result = recompute(
            context.resources.spark.spark_session,
            context.resources.catalog,
            context.resources.settings,
            declared=declared,
            upstream=upstream,
            start=window.start.astimezone(UTC),
            end=window.end.astimezone(UTC),
            run_id=context.run.run_id,
        )
        context.add_asset_metadata(
            {
                "range": f"{window.start:%Y-%m-%d} to {window.end - timedelta(days=1):%Y-%m-%d}",
                "events_read": result.events_read,
                "duplicates_dropped": result.duplicates_dropped,
                "rows_written": sum(rows for rows, _ in result.days.values()),
                # as text: the browser rounds integers above 2^53
                "snapshot_read": str(result.snapshot_read),
                "snapshot_written": str(result.snapshot_written),
            }
        )
        for key in days:
            rows, events = result.days.get(date.fromisoformat(key), (0, 0))
            context.add_asset_metadata({"dagster/partition_row_count": rows, "events": events}, partition_key=key)

    return hourly


def recompute(
    session: "SparkSession",
    catalog: "Catalog",
    settings: Settings,
    *,
    declared: Table,
    upstream: Table,
    start: datetime,
    end: datetime,
    run_id: str,
) -> Recomputed:
    """Compute the windows of ``[start, end)`` from one snapshot of ``upstream`` and overwrite that range.

    Days without events end up empty. ``start`` and ``end`` are midnights in UTC.
    """
    from pyspark.sql import Observation  # a code location loads without Spark
    from pyspark.sql import functions as F  # noqa: N812  the name that Spark's documentation uses

    from resources.snapshots import find_snapshot
    from resources.spark import connect_catalog

    connect_catalog(session, settings)
    current = catalog.load_table(upstream.identifier).current_snapshot()
    source = f"{settings.catalog_name}.{upstream.identifier}"
    if current is not None:
        source += f" VERSION AS OF {current.snapshot_id}"
    target = f"{settings.catalog_name}.{declared.identifier}"
    observation = Observation("events")
    session.sql(events_query(declared, source, start, end)).observe(
        observation, F.count(F.lit(1)).alias("read")
    ).createOrReplaceTempView("events")
    (
        session.sql(windows_query(declared, "events"))
        .writeTo(target)
        # the default, range, would compute everything twice to sample it
        .option("distribution-mode", "hash")
        .option(f"snapshot-property.{RUN_PROPERTY}", run_id)
        .overwrite(F.expr(time_range(declared.event_time, start, end)))
    )
    written = find_snapshot(catalog.load_table(declared.identifier), RUN_PROPERTY, run_id)
    return Recomputed(
        snapshot_read=None if current is None else current.snapshot_id,
        snapshot_written=written.snapshot_id,
        events_read=observation.get["read"],
        days=_rows_by_day(session, declared, f"{target} VERSION AS OF {written.snapshot_id}", start, end),
    )


def _rows_by_day(
    session: "SparkSession", declared: Table, source: str, start: datetime, end: datetime
) -> dict[date, tuple[int, int]]:
    rows = session.sql(
        f"SELECT to_date({declared.event_time}) AS day, count(*) AS row_count, sum(event_count) AS events "  # noqa: S608
        f"FROM {source} WHERE {time_range(declared.event_time, start, end)} GROUP BY 1"
    ).collect()
    return {row["day"]: (row["row_count"], row["events"]) for row in rows}
