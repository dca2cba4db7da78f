"""Reads which days late events have come for, from the metadata of the files that hold them."""

from collections.abc import Callable
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.table import Table as IcebergTable

from lakehouse_assets.gold.debounce import Arrival, FamilyDay
from resources.offsets import AddedFile, files_since, read_columns

FAMILY = "family"
EPOCH = date(1970, 1, 1)


def late_arrivals(table: IcebergTable, *, after: int, wanted: Callable[[date], bool]) -> dict[FamilyDay, Arrival]:
    """The late events that were committed after sequence number ``after``, by family and day.

    A file holds events of one day, which its partition names, and mostly of one family, which its column bounds
    name: only a file that compaction has made of several families' is read, and of it the column ``family``.
    Days that are not ``wanted`` are left out.
    """
    current = table.current_snapshot()
    if current is None:
        return {}
    files = [file for file in files_since(table, after=after, until=current) if wanted(day_of(file))]
    found: dict[FamilyDay, Arrival] = {}
    mixed = []
    for file in files:
        if (family := _only_family(table, file)) is None:
            mixed.append(file)
        else:
            _count(found, family, file, file.records)
    for file, rows in zip(mixed, read_columns(table, mixed, [FAMILY]), strict=True):
        for family, events in _events_by_family(rows).items():
            _count(found, family, file, events)
    return found


def day_of(file: AddedFile) -> date:
    """The day, in UTC, whose rows the file holds."""
    # day transform of the Iceberg specification: days from 1970-01-01
    return EPOCH + timedelta(days=file.data_file.partition[0])


def _only_family(table: IcebergTable, file: AddedFile) -> str | None:
    column = table.schema().find_field(FAMILY).field_id
    lower = (file.data_file.lower_bounds or {}).get(column)
    upper = (file.data_file.upper_bounds or {}).get(column)
    # writers cut long bounds, the lower one down and the upper one up: equal ones are whole
    return lower.decode() if lower is not None and lower == upper else None


def _events_by_family(rows: pa.Table) -> dict[str, int]:
    return {str(count["values"]): int(count["counts"]) for count in pc.value_counts(rows[FAMILY]).to_pylist()}


def _count(found: dict[FamilyDay, Arrival], family: str, file: AddedFile, events: int) -> None:
    key = (family, day_of(file))
    known = found.get(key, Arrival(0, 0))
    found[key] = Arrival(known.events + events, max(known.sequence_number, file.sequence_number))
