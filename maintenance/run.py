"""Maintenance of tables: plans each, and runs in Spark what is due."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pyarrow.fs import FileSystem
from pydantic import BaseModel
from pyiceberg.catalog import Catalog

from contracts import Table, bronze_events, families
from maintenance.metadata_files import left_behind, remove
from maintenance.plan import Plan, plan
from maintenance.statistics import TableStatistics, read_statistics
from resources.object_store import object_store
from resources.snapshots import FLINK_JOB, summary_of
from settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from maintenance.spark_actions import SparkActions

SessionFactory = Callable[[], "SparkSession"]


class TableMaintenance(BaseModel):
    """What was due for one table, what was done, and the table afterwards; of a dry run only what was due."""

    plan: Plan
    after: Plan | None = None
    rewritten_files: int = 0
    rewritten_manifests: int = 0
    expired_files: int = 0
    statistics: TableStatistics | None = None
    orphans: list[str] = []
    metadata_files: int = 0
    """Metadata files that were left behind, and are gone unless it was a dry run."""
    metadata_bytes: int = 0
    seconds: float = 0.0


def maintain(
    catalog: Catalog,
    settings: Settings,
    tables: Sequence[Table],
    session: SessionFactory,
    *,
    dry_run: bool = False,
    orphans: bool = False,
    say: Callable[[str], None] = lambda _line: None,
) -> list[TableMaintenance]:
    """Do what is due for each of ``tables``, whoever writes to them meanwhile.

    Args:
        catalog: where the tables are.
        settings: of the platform.
        tables: contracts of the tables.
        session: opens Spark; called only where something is to be done.
        dry_run: only say what is due.
        orphans: look for left-over files as well, which lists all objects of a table.
        say: told what happens.

    Raises:
        MaintenanceError: a step failed.
        DeleteFilesError: a table has delete files, which nothing here writes.
    """
    families_by_job = _families_by_job(catalog)
    results = []
    for declared in tables:
        started = time.monotonic()
        due = plan(catalog.load_table(declared.identifier), declared, datetime.now(UTC), families_by_job)
        result = TableMaintenance(plan=due)
        if orphans or (due.is_due and not dry_run):
            actions = _actions(session, settings, declared)
            if not dry_run:
                _carry_out(actions, due, result, say)
                _compute_statistics(actions, due, result, catalog, say)
            if orphans:
                before = datetime.now(UTC) - declared.maintenance.orphans_after
                result.orphans = actions.remove_orphans(before, dry_run=dry_run)
        _remove_metadata(catalog, object_store(settings), declared, result, dry_run=dry_run)
        if not dry_run:
            table = catalog.load_table(declared.identifier)
            result.after = plan(table, declared, datetime.now(UTC), families_by_job)
        result.seconds = round(time.monotonic() - started, 3)
        results.append(result)
    return results


def _carry_out(actions: "SparkActions", due: Plan, result: TableMaintenance, say: Callable[[str], None]) -> None:
    for parts in ([part for part in due.compact if part.closed is closed] for closed in (True, False)):
        if parts:
            say(f"{due.table}: joining {sum(part.small_files for part in parts)} files of {len(parts)} partitions")
            result.rewritten_files += actions.compact(parts)
    if due.rewrite_manifests:
        say(f"{due.table}: rewriting {due.manifests} manifests")
        result.rewritten_manifests = actions.rewrite_manifests()
    if due.expire_before is not None:
        say(f"{due.table}: expiring {due.expire_snapshots} snapshots")
        result.expired_files = actions.expire(due.expire_before)


def _remove_metadata(
    catalog: Catalog, store: FileSystem, declared: Table, result: TableMaintenance, *, dry_run: bool
) -> None:
    before = datetime.now(UTC) - declared.maintenance.metadata_after
    found = left_behind(catalog.load_table(declared.identifier), store, before)
    result.metadata_files, result.metadata_bytes = len(found.paths), found.bytes
    if not dry_run:
        remove(found, store)


def _compute_statistics(
    actions: "SparkActions", due: Plan, result: TableMaintenance, catalog: Catalog, say: Callable[[str], None]
) -> None:
    """Last, so that they describe the files as they are now, and expiry does not take them away at once."""
    if due.statistics:
        say(f"{due.table}: counting the values of {', '.join(due.statistics)}")
        file = actions.compute_statistics(due.statistics)
        result.statistics = read_statistics(catalog.load_table(due.table), file)


def _actions(session: SessionFactory, settings: Settings, declared: Table) -> "SparkActions":
    from maintenance.spark_actions import SparkActions  # imports Spark, which often is not needed
    from resources.spark import connect_catalog

    opened = session()
    connect_catalog(opened, settings)
    return SparkActions(opened, settings.catalog_name, declared)


def _families_by_job(catalog: Catalog) -> dict[str, str]:
    """The family of each Flink job that the retained history of its bronze table names."""
    found = {}
    for member in families():
        for snapshot in catalog.load_table(bronze_events(member).identifier).metadata.snapshots:
            if (job := summary_of(snapshot).get(FLINK_JOB)) is not None:
                found[job] = member.name
    return found
