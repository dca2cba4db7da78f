"""Gold tables as Spark assets: a range of days is computed, checked and published as one run."""

from collections.abc import Iterator
from datetime import UTC, date, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from contracts import Table, Writer
from lakehouse_assets.check_results import CHECK_NAME, VOLUME_CHECK
from lakehouse_assets.describe import table_key, table_spec
from lakehouse_assets.gold.automation import follow_upstream
from lakehouse_assets.gold.missing import require_upstream_days
from lakehouse_assets.gold.partitions import DAILY
from lakehouse_assets.gold.query import windows_recipe
from lakehouse_assets.gold.recipe import SAME_DAY, Input, Recipe
from lakehouse_assets.gold.recipes import gold_recipes
from resources.spark import POOL

if TYPE_CHECKING:
    from lakehouse_assets.gold.recompute import Recomputed


def gold_assets() -> list[dg.AssetsDefinition]:
    """All tables that Spark computes."""
    return [gold_asset(recipe) for recipe in gold_recipes()]


def window_asset(declared: Table, upstream: Table) -> dg.AssetsDefinition:
    """A table of windows over the events of ``upstream`` as an asset."""
    return gold_asset(windows_recipe(declared, upstream))


def gold_asset(recipe: Recipe) -> dg.AssetsDefinition:
    """A gold table as an asset with a partition a day, overwritten whole; a range of days is one run.

    What is computed goes to a branch of the table. Only if it is as the contract says, readers see it.
    """
    declared = recipe.declared
    spec = table_spec(declared)

    @dg.asset(
        key=spec.key,
        deps=[_dep(read) for read in recipe.inputs],
        description=spec.description,
        group_name=spec.group_name,
        kinds=spec.kinds,
        owners=spec.owners,
        tags=spec.tags,
        freshness_policy=spec.freshness_policy,
        metadata=spec.metadata,
        code_version=recipe.version,
        partitions_def=DAILY,
        automation_condition=follow_upstream(recipe),
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=POOL,
        required_resource_keys={"settings", "catalog", "spark"},
        check_specs=list(_check_specs(recipe, spec.key)),
    )
    def computed(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]:
        from lakehouse_assets.gold.publish import audit_and_publish, begin_branch  # imports Arrow and more
        from lakehouse_assets.gold.recompute import recompute  # imports Spark

        days = context.partition_keys  # raises for a day that is no partition, before anything is written
        window = context.partition_time_window
        start, end = window.start.astimezone(UTC), window.end.astimezone(UTC)
        catalog = context.resources.catalog
        require_upstream_days(catalog, recipe, start, end)
        branch = begin_branch(catalog, declared, context.run.run_id)
        result = recompute(
            context.resources.spark.spark_session,
            catalog,
            context.resources.settings,
            recipe,
            start=start,
            end=end,
            branch=branch,
            run_id=context.run.run_id,
        )
        yield from audit_and_publish(catalog, declared, branch, start, end, steady=recipe.steady)
        context.add_asset_metadata(
            {"range": f"{window.start:%Y-%m-%d} to {window.end - timedelta(days=1):%Y-%m-%d}"}
            | _summary(recipe, result)
        )
        for key in days:
            rows, events = result.days.get(date.fromisoformat(key), (0, 0))
            counted = {} if events is None else {"events": events}
            context.add_asset_metadata({"dagster/partition_row_count": rows} | counted, partition_key=key)
        yield dg.MaterializeResult()

    return computed


def _check_specs(recipe: Recipe, key: dg.AssetKey) -> Iterator[dg.AssetCheckSpec]:
    yield dg.AssetCheckSpec(
        CHECK_NAME,
        asset=key,
        description="The rows of the run's days are as the contract says; else they are not published",
        blocking=True,
    )
    if recipe.steady:
        yield dg.AssetCheckSpec(
            VOLUME_CHECK,
            asset=key,
            description="The run's closed days have about as many rows as the days around them",
        )


def _dep(read: Input) -> dg.AssetDep:
    """An upstream asset, and which of its partitions a day needs."""
    key = table_key(read.table)
    if read.table.writer is not Writer.SPARK or read.days_back == SAME_DAY:
        return dg.AssetDep(key)
    oldest, newest = max(read.days_back), min(read.days_back)
    return dg.AssetDep(
        key, partition_mapping=dg.TimeWindowPartitionMapping(start_offset=-oldest, end_offset=-newest)
    )


def _summary(recipe: Recipe, result: "Recomputed") -> dict[str, Any]:
    """Metadata of a run as a whole."""
    written = sum(rows for rows, _ in result.days.values())
    # ids as text: the browser rounds integers above 2^53
    found = {"rows_written": written, "snapshot_written": str(result.snapshot_written)}
    if len(recipe.inputs) > 1:
        snapshots = {name: str(snapshot) for name, snapshot in result.snapshots_read.items()}
        return found | {"rows_read": sum(result.rows_read.values()), "snapshots_read": snapshots}
    [events], [snapshot] = result.rows_read.values(), result.snapshots_read.values()
    counted = sum(events or 0 for _, events in result.days.values())
    return found | {
        "events_read": events,
        "duplicates_dropped": events - counted,
        "snapshot_read": str(snapshot),
    }
