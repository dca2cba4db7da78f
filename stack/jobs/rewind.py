"""Refuses to start a job behind what its tables hold.

Flink restores an older savepoint without a word: events are then written twice, and Iceberg's sink drops what
carries a checkpoint number that the table has seen already (apache/iceberg#10892).
"""

import re
from collections.abc import Sequence

from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import ancestors_of

from contracts import Family, LakehouseError, Writer, family_tables
from resources.catalog import open_catalog
from resources.snapshots import FLINK_CHECKPOINT, FLINK_JOB, summary_of
from settings import Settings
from stack.jobs.checkpoints import checkpoint_id

_JOB = re.compile(r"/(?:savepoint-|checkpoints/)([0-9a-f]{6,32})[-/]")


class RewindError(LakehouseError):
    """A restore point is older than a table."""


def refuse_rewind(settings: Settings, family: Family, restore_from: str | None, lineage: Sequence[str]) -> None:
    """Compare the number of the restore point with that of the newest commit of each table.

    Args:
        settings: where the catalog and the store are.
        family: whose tables.
        restore_from: savepoint or checkpoint; ``None`` is the beginning of the topic.
        lineage: the jobs over which checkpoint numbers keep growing; empty where that is not known. Commits of
            other jobs were made before the first of them.

    Raises:
        RewindError: a table holds more than the restore point, or the restore point is of a job that others have
            followed.
        RestorePointError: the restore point is missing.
    """
    if restore_from is not None and not _is_of(restore_from, lineage):
        raise RewindError(
            f"{restore_from} is of a job that was replaced since: its positions are behind the tables. Start from "
            f"a newer one, or with `./lakehouse jobs start {family.name} --allow-rewind`"
        )
    number = 0 if restore_from is None else checkpoint_id(settings, restore_from)
    catalog = open_catalog(settings)
    for declared in family_tables(family):
        if declared.writer is not Writer.FLINK:
            continue
        try:
            table = catalog.load_table(declared.identifier)
        except NoSuchTableError:
            continue
        newest = _newest_commit(table, lineage if restore_from is not None else ())
        if number < newest:
            raise RewindError(
                f"{declared.identifier} holds checkpoint {newest}, and "
                f"{restore_from or 'the beginning of the topic'} is checkpoint {number}: events would be written "
                f"twice. Start from a newer one, or with `./lakehouse jobs start {family.name} --allow-rewind`"
            )


def _is_of(path: str, lineage: Sequence[str]) -> bool:
    """Whether the savepoint or checkpoint is of one of the jobs; Flink names it after its job."""
    match = _JOB.search(path)
    return not lineage or match is None or any(job.startswith(match.group(1)) for job in lineage)


def _newest_commit(table: IcebergTable, lineage: Sequence[str]) -> int:
    """Checkpoint number of the newest commit of Flink; 0 where there is none or it is of another lineage."""
    for snapshot in ancestors_of(table.current_snapshot(), table.metadata):
        summary = summary_of(snapshot)
        if FLINK_CHECKPOINT in summary:
            return int(summary[FLINK_CHECKPOINT]) if not lineage or summary[FLINK_JOB] in lineage else 0
    return 0
