"""One asset for each table: its upkeep, with what was done as metadata."""

from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg

from contracts import Table, all_tables
from lakehouse_assets.describe import table_key
from resources.spark import POOL

if TYPE_CHECKING:
    from maintenance.run import TableMaintenance

GROUP = "maintenance"
SCHEDULED_EVERY = timedelta(hours=1)
FRESHNESS = dg.FreshnessPolicy.time_window(fail_window=SCHEDULED_EVERY * 12, warn_window=SCHEDULED_EVERY * 2)


class MaintenanceConfig(dg.Config):
    """What a run does beyond joining files and expiring snapshots."""

    dry_run: bool = False
    """Only say what is due."""
    orphans: bool = False
    """Look for files that no snapshot lists as well."""


def maintenance_key(declared: Table) -> dg.AssetKey:
    """Asset key of the upkeep of a table."""
    return dg.AssetKey([GROUP, str(declared.layer), declared.name])


def maintenance_assets() -> list[dg.AssetsDefinition]:
    """The upkeep of every table."""
    return [_maintenance_asset(declared) for declared in all_tables()]


def _maintenance_asset(declared: Table) -> dg.AssetsDefinition:
    rules = declared.maintenance

    @dg.asset(
        key=maintenance_key(declared),
        deps=[table_key(declared)],
        description=f"Upkeep of {declared.identifier}: joins small files, sorts closed days, expires "
        "snapshots, counts distinct values",
        group_name=GROUP,
        kinds={"spark", "iceberg"},
        owners=list(declared.owners),
        tags={"family": declared.family, "layer": str(declared.layer)},
        freshness_policy=FRESHNESS,
        metadata={
            "keep_snapshots": str(rules.keep_snapshots),
            "target_file_bytes": rules.target_file_bytes,
            "compact_at": rules.compact_at,
            "orphans_after": str(rules.orphans_after),
            "statistics_after": str(rules.statistics_after or "never"),
        },
        pool=POOL,
        required_resource_keys={"settings", "catalog", "spark"},
    )
    def maintenance(context: dg.AssetExecutionContext, config: MaintenanceConfig) -> dg.MaterializeResult[None]:
        from maintenance.run import maintain  # a code location loads without it

        [done] = maintain(
            context.resources.catalog,
            context.resources.settings,
            [declared],
            lambda: context.resources.spark.spark_session,
            dry_run=config.dry_run,
            orphans=config.orphans,
            say=context.log.info,
        )
        return dg.MaterializeResult(metadata=_metadata(done, dry_run=config.dry_run))

    return maintenance


def _metadata(done: "TableMaintenance", *, dry_run: bool) -> dict[str, dg.MetadataValue]:
    after = done.after or done.plan
    found: dict[str, dg.MetadataValue] = {
        "dry_run": dg.MetadataValue.bool(dry_run),
        "partitions_due": dg.MetadataValue.json([part.model_dump(mode="json") for part in done.plan.compact]),
        "files_before": dg.MetadataValue.int(done.plan.files),
        "files_after": dg.MetadataValue.int(after.files),
        "bytes_before": dg.MetadataValue.int(done.plan.bytes),
        "bytes_after": dg.MetadataValue.int(after.bytes),
        "manifests_before": dg.MetadataValue.int(done.plan.manifests),
        "manifests_after": dg.MetadataValue.int(after.manifests),
        "snapshots_before": dg.MetadataValue.int(done.plan.snapshots),
        "snapshots_after": dg.MetadataValue.int(after.snapshots),
        "rewritten_files": dg.MetadataValue.int(done.rewritten_files),
        "deleted_files": dg.MetadataValue.int(done.expired_files),
        "orphans": dg.MetadataValue.int(len(done.orphans)),
        "metadata_files_deleted": dg.MetadataValue.int(done.metadata_files),
        "metadata_bytes_deleted": dg.MetadataValue.int(done.metadata_bytes),
        "statistics_due": dg.MetadataValue.json(done.plan.statistics),
        "seconds": dg.MetadataValue.float(done.seconds),
    }
    if (statistics := done.statistics) is not None:
        found |= {
            "statistics_file": dg.MetadataValue.path(statistics.file),
            # as text: the browser rounds integers above 2^53
            "statistics_of_snapshot": dg.MetadataValue.text(str(statistics.snapshot_id)),
            "distinct_values": dg.MetadataValue.json(statistics.distinct),
        }
    return found
