"""Refuses to start a job behind what its tables hold.

Flink restores an older savepoint without a word: events are then written twice, and Iceberg's sink drops what
carries a checkpoint number that the table has seen already (apache/iceberg#10892).
"""

from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table.snapshots import ancestors_of

from contracts import Family, LakehouseError, Writer, family_tables
from resources.catalog import open_catalog
from resources.snapshots import FLINK_CHECKPOINT
from settings import Settings
from stack.jobs.checkpoints import checkpoint_id


class RewindError(LakehouseError):
    """A restore point is older than a table."""


def refuse_rewind(settings: Settings, family: Family, restore_from: str | None) -> None:
    """Compare the number of the restore point with that of the newest commit of each table.

    Numbers grow over all restores of a job. ``None`` is the beginning of the topic.

    Raises:
        RewindError: a table holds more than the restore point.
        RestorePointError: the restore point is missing.
    """
    number = 0 if restore_from is None else checkpoint_id(settings, restore_from)
    catalog = open_catalog(settings)
    for declared in family_tables(family):
        if declared.writer is not Writer.FLINK:
            continue
        try:
            table = catalog.load_table(declared.identifier)
        except NoSuchTableError:
            continue
        summaries = (
            snapshot.summary.additional_properties
            for snapshot in ancestors_of(table.current_snapshot(), table.metadata)
            if snapshot.summary is not None
        )
        newest = next((int(s[FLINK_CHECKPOINT]) for s in summaries if FLINK_CHECKPOINT in s), 0)
        if number < newest:
            raise RewindError(
                f"{declared.identifier} holds checkpoint {newest}, and "
                f"{restore_from or 'the beginning of the topic'} is checkpoint {number}: events would be written "
                f"twice. Start from a newer one, or with `./lakehouse jobs start {family.name} --allow-rewind`"
            )
