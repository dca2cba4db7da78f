"""``gold.quality_results`` as an asset: a day of evaluations, and the report over the days that are kept."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from contracts import quality_results
from contracts.quality import REPORT
from lakehouse_assets.check_results import CHECK_NAME, check_result
from lakehouse_assets.describe import table_spec
from lakehouse_assets.gold.partitions import DAILY

REPORTED_DAYS = 30


def quality_asset() -> dg.AssetsDefinition:
    """The table of evaluations with a partition a day, overwritten whole from Dagster's event log."""
    declared = quality_results()
    spec = table_spec(declared)

    @dg.asset(
        key=spec.key,
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
        required_resource_keys={"settings", "catalog"},
        check_specs=[
            dg.AssetCheckSpec(CHECK_NAME, asset=spec.key, description="The rows of the run's days are as declared")
        ],
    )
    def results(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]:
        from lakehouse_assets.quality.evaluations import evaluations
        from lakehouse_assets.quality.report import render  # imports Arrow
        from lakehouse_assets.quality.store import overwrite, results_since, write_report
        from resources.quality import validate

        window = context.partition_time_window
        start, end = window.start.astimezone(UTC), window.end.astimezone(UTC)
        checks = context.repository_def.asset_graph.asset_check_keys
        rows = evaluations(context.instance, checks, start, end)
        catalog, settings = context.resources.catalog, context.resources.settings
        written = overwrite(catalog, declared, rows, start, end)
        now = datetime.now(UTC)
        kept = results_since(catalog, declared, now - timedelta(days=REPORTED_DAYS))
        location = write_report(settings, REPORT, render(kept, now, days=REPORTED_DAYS))
        yield check_result(validate(declared, written), "all evaluations of the run's days")
        yield dg.MaterializeResult(
            metadata={
                "dagster/partition_row_count": len(rows),
                "failed": sum(not row["passed"] for row in rows),
                "report": dg.MetadataValue.url(f"{settings.api_url}/v1/quality/report"),
                "report_location": location,
            },
        )

    return results
