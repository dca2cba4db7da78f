"""How far a table was looked at, as events of Dagster carry it: they are the memory of sensors and checks."""

from collections.abc import Mapping
from typing import TypedDict

import dagster as dg


class Position(TypedDict):
    """A commit of a table: a sequence number counts the commits of one table, named by its UUID."""

    table_uuid: str
    sequence_number: int


def position_metadata(table_uuid: str, sequence_number: int) -> dict[str, dg.MetadataValue]:
    """A position as metadata of an event."""
    return {
        "table_uuid": dg.MetadataValue.text(table_uuid),
        "sequence_number": dg.MetadataValue.int(sequence_number),
    }


def position_in(metadata: Mapping[str, dg.MetadataValue]) -> Position | None:
    """The position that an event carries, if it does."""
    try:
        return Position(
            table_uuid=str(metadata["table_uuid"].value),
            sequence_number=int(str(metadata["sequence_number"].value)),
        )
    except KeyError:
        return None


def sequence_number_of(table_uuid: str, position: Position | None) -> int:
    """The sequence number of ``position`` if it is one of that table, else 0: all commits come after it."""
    return position["sequence_number"] if position is not None and position["table_uuid"] == table_uuid else 0
