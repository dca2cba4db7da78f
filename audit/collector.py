"""How far the collector of dead letters has come: every offset below its position is accounted for."""

from collections.abc import Sequence

import pyarrow.compute as pc
from pydantic import BaseModel, ValidationError
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Operation, Snapshot

from audit.errors import AuditError
from audit.history import history
from contracts import Family
from resources.offsets import AddedFile, Offsets, offsets_by_partition, operation, read_columns

POSITION = "collector.position."
"""Property of ``bronze.dead_letters``, with the name of a family behind it."""

UNCLASSIFIED = "unclassified"
"""Error class of a dead letter that nothing is found wrong with: an event that the stream has lost."""


class Position(BaseModel):
    """Snapshot of a bronze table that the collector has worked through, and the next offset by partition."""

    table_uuid: str
    snapshot_id: str | None
    sequence_number: int
    next_offsets: dict[int, int]


def position(dead_letters: IcebergTable, family: Family, bronze: IcebergTable) -> Position | None:
    """The collector's position in the family's topic; none where it has none for this bronze table.

    Raises:
        AuditError: the property is no position.
    """
    text = dead_letters.properties.get(POSITION + family.name)
    if text is None:
        return None
    try:
        found = Position.model_validate_json(text)
    except ValidationError as error:
        raise AuditError(
            f"property {POSITION}{family.name} of {'.'.join(dead_letters.name())} is no position: {text!r}; "
            "remove the property, and the collector starts anew"
        ) from error
    return found if found.table_uuid == str(bronze.metadata.table_uuid) else None


def explained_offsets(files: Sequence[AddedFile], dead_letters: IcebergTable, topic: str) -> dict[int, Offsets]:
    """Sorted offsets of the records of ``topic`` in ``files`` that are no valid event, by partition.

    A dead letter without a reason does not excuse its absence from the bronze table, and is left out.
    """
    tables = read_columns(dead_letters, files, ("topic", "error_class", "kafka_partition", "kafka_offset"))
    wanted = (pc.field("topic") == topic) & (pc.field("error_class") != UNCLASSIFIED)
    return offsets_by_partition([rows.filter(wanted) for rows in tables])


def reached(bronze: IcebergTable, collected: Position | None) -> Snapshot | None:
    """The newest snapshot of ``bronze`` that has no appended rows beyond the collector's position."""
    current = bronze.current_snapshot()
    if current is None or collected is None:
        return None
    newest = None
    for snapshot in history(bronze, current):
        if operation(snapshot) is Operation.APPEND and (snapshot.sequence_number or 0) > collected.sequence_number:
            break
        newest = snapshot
    return newest
