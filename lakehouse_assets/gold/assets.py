"""Gold tables as Spark assets: a range of days is computed, checked and published as one run."""

from collections.abc import Iterator
from datetime import UTC, date, timedelta

import dagster as dg

from contracts import Table
from lakehouse_assets.check_results import CHECK_NAME
from lakehouse_assets.describe import table_spec
from lakehouse_assets.gold.partitions import DAILY


def window_asset(declared: Table, upstream: Table) -> dg.AssetsDefinition:
    """A window table as an asset with a partition a day, overwritten whole; a range of days is one run.

    What is computed goes to a branch of the table. Only if it is as the contract says, readers see it.
    """
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
        pool=declared.identifier,
        required_resource_keys={"settings", "catalog", "spark"},
        check_specs=[
            dg.AssetCheckSpec(
                CHECK_NAME,
                asset=spec.key,
                description="The rows of the run's days are as the contract says; else they are not published",
                blocking=True,
            )
        ],
    )
    def windows(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]:
        from lakehouse_assets.gold.publish import audit_and_publish, begin_branch  # imports Arrow and more
        from lakehouse_assets.gold.recompute import recompute  # imports Spark

        days = context.partition_keys  # raises for a day that is no partition, before anything is written
        window = context.partition_time_window
        start, end = window.start.astimezone(UTC), window.end.astimezone(UTC)
        catalog = context.resources.catalog
        branch = begin_branch(catalog, declared, context.run.run_id)
        result = recompute(
            context.resources.spark.spark_session,
            catalog,
            context.resources.settings,
            declared=declared,
            upstream=upstream,
            start=start,
            end=end,
            branch=branch,
            run_id=context.run.run_id,
        )
        yield from audit_and_publish(catalog, declared, branch, start, end)
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
        yield dg.MaterializeResult()

    return windows
