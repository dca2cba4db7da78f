"""What differs between two snapshots of an Iceberg table, from its metadata alone: no data is read."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import date, timedelta
from enum import StrEnum

from pydantic import BaseModel
from pyiceberg.exceptions import ResolveError
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema, promote
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Operation, Snapshot, ancestors_of
from pyiceberg.transforms import DayTransform
from pyiceberg.types import IcebergType, NestedField

from resources.offsets import AddedFile, live_files, operation
from resources.snapshots import summary_of

EPOCH = date(1970, 1, 1)


class Change(StrEnum):
    """What became of a column; a column is its field id, whatever it is called."""

    ADDED = "added"
    DROPPED = "dropped"
    RENAMED = "renamed"
    WIDENED = "widened"
    """To a type that holds all values of the one before (Iceberg specification, "Schema Evolution")."""
    NARROWED = "narrowed"
    """What was widened, looked at backwards."""
    MADE_OPTIONAL = "made optional"
    MADE_REQUIRED = "made required"


class ColumnChange(BaseModel):
    """One change of a column, under the name it has last.

    ``before`` and ``after`` are names where it was renamed, and types otherwise.
    """

    field_id: int
    column: str
    change: Change
    before: str | None = None
    after: str | None = None


class ListedFile(BaseModel):
    """A data file that a snapshot lists; ``day`` is that of its partition, in UTC."""

    path: str
    day: date | None
    rows: int
    bytes: int


class Size(BaseModel):
    """Data files with their rows and bytes."""

    files: int = 0
    rows: int = 0
    bytes: int = 0


class ChangedDay(BaseModel):
    """A partition with files that came or went; ``day`` is none in a table without partitions by day."""

    day: date | None
    before: Size
    after: Size
    files_added: int
    files_removed: int


class SnapshotDiff(BaseModel):
    """What differs at snapshot ``to`` from snapshot ``start``; ``before`` and ``after`` are the whole table."""

    table: str
    start: str
    to: str
    columns: list[ColumnChange]
    before: Size
    after: Size
    days: list[ChangedDay]
    files_added: list[ListedFile]
    files_removed: list[ListedFile]
    only_rewritten: bool
    """Whether the rows are the same and merely stand in other files, as after compaction."""


def diff(table: IcebergTable, start: Snapshot, to: Snapshot) -> SnapshotDiff:
    """What differs at ``to`` from ``start``, whichever of them is the older.

    Columns are compared as each snapshot was written with them: what was altered since the newest snapshot shows
    with the next.

    Raises:
        DeleteFilesError: rows are deleted by delete files, so that data files do not tell how many there are.
    """
    before, after = _listed(table, live_files(table, start)), _listed(table, live_files(table, to))
    added, removed = _difference(after, before), _difference(before, after)
    days = _days(before, after, added, removed)
    return SnapshotDiff(
        table=".".join(table.name()),
        start=str(start.snapshot_id),
        to=str(to.snapshot_id),
        columns=column_changes(_schema(table, start), _schema(table, to)),
        before=_size(before),
        after=_size(after),
        days=days,
        files_added=added,
        files_removed=removed,
        only_rewritten=bool(days)
        and all(day.before.rows == day.after.rows for day in days)
        and _keeps_rows(table, start, to),
    )


def column_changes(before: Schema, after: Schema) -> list[ColumnChange]:
    """Changes of columns from ``before`` to ``after``, by field id."""
    old, new = _columns(before), _columns(after)
    changes = []
    for field_id in sorted(old.keys() | new.keys()):
        if field_id not in old:
            name, field = new[field_id]
            changes.append(
                ColumnChange(field_id=field_id, column=name, change=Change.ADDED, after=str(field.field_type))
            )
        elif field_id not in new:
            name, field = old[field_id]
            changes.append(
                ColumnChange(field_id=field_id, column=name, change=Change.DROPPED, before=str(field.field_type))
            )
        else:
            changes += _altered(field_id, old[field_id], new[field_id])
    return changes


def _altered(field_id: int, old: tuple[str, NestedField], new: tuple[str, NestedField]) -> list[ColumnChange]:
    (old_name, before), (name, after) = old, new
    changes = []
    if old_name != name:
        changes.append((Change.RENAMED, old_name, name))
    # what is nested has field ids of its own
    if before.field_type.is_primitive and before.field_type != after.field_type:
        wider = _holds(after.field_type, before.field_type)
        change = Change.WIDENED if wider else Change.NARROWED
        changes.append((change, str(before.field_type), str(after.field_type)))
    if before.required != after.required:
        change = Change.MADE_REQUIRED if after.required else Change.MADE_OPTIONAL
        changes.append((change, str(before.field_type), str(after.field_type)))
    return [
        ColumnChange(field_id=field_id, column=name, change=change, before=said_before, after=said_after)
        for change, said_before, said_after in changes
    ]


def _holds(wider: IcebergType, narrower: IcebergType) -> bool:
    try:
        promote(narrower, wider)
    except ResolveError:
        return False
    return True


def _columns(schema: Schema) -> dict[int, tuple[str, NestedField]]:
    return {id_: (schema.find_column_name(id_) or "", schema.find_field(id_)) for id_ in schema.field_ids}


def _schema(table: IcebergTable, snapshot: Snapshot) -> Schema:
    if snapshot.schema_id is None:  # optional in the specification; all writers here note it
        return table.schema()
    return table.schemas()[snapshot.schema_id]


def _listed(table: IcebergTable, files: Iterable[AddedFile]) -> list[ListedFile]:
    day_fields = {
        spec_id: [at for at, field in enumerate(spec.fields) if isinstance(field.transform, DayTransform)]
        for spec_id, spec in table.specs().items()
    }
    return [
        ListedFile(
            path=file.path,
            day=_day(file.data_file, day_fields[file.data_file.spec_id]),
            rows=file.records,
            bytes=file.data_file.file_size_in_bytes,
        )
        for file in files
    ]


def _day(file: DataFile, day_fields: list[int]) -> date | None:
    """Day of the partition, in days since 1970 (Iceberg specification, "Partition Transforms")."""
    days = [file.partition[at] for at in day_fields]
    return EPOCH + timedelta(days=days[0]) if days and days[0] is not None else None


def _difference(files: list[ListedFile], others: list[ListedFile]) -> list[ListedFile]:
    """Those of ``files`` that ``others`` lack; one that is listed twice counts twice."""
    known = Counter(file.path for file in others)
    left = []
    for file in files:
        if known[file.path]:
            known[file.path] -= 1
        else:
            left.append(file)
    return left


def _days(
    before: list[ListedFile], after: list[ListedFile], added: list[ListedFile], removed: list[ListedFile]
) -> list[ChangedDay]:
    were, are, came, went = map(_by_day, (before, after, added, removed))
    return [
        ChangedDay(
            day=day,
            before=_size(were[day]),
            after=_size(are[day]),
            files_added=len(came[day]),
            files_removed=len(went[day]),
        )
        for day in sorted(came.keys() | went.keys(), key=lambda day: day or date.min)
    ]


def _by_day(files: list[ListedFile]) -> defaultdict[date | None, list[ListedFile]]:
    by_day = defaultdict(list)
    for file in files:
        by_day[file.day].append(file)
    return by_day


def _size(files: list[ListedFile]) -> Size:
    return Size(files=len(files), rows=sum(file.rows for file in files), bytes=sum(file.bytes for file in files))


def _keeps_rows(table: IcebergTable, start: Snapshot, to: Snapshot) -> bool:
    """Whether every commit between the two says that it changed no row: counts of rows may agree by chance."""
    path = _path(table, start, to) or _path(table, to, start)
    return bool(path) and all(operation(s) is Operation.REPLACE or not _touches_files(s) for s in path)


def _path(table: IcebergTable, older: Snapshot, newer: Snapshot) -> list[Snapshot]:
    """Snapshots after ``older`` up to ``newer``; none where they do not follow each other."""
    path: list[Snapshot] = []
    for snapshot in ancestors_of(newer, table.metadata):
        if snapshot.snapshot_id == older.snapshot_id:
            return path
        path.append(snapshot)
    return []


def _touches_files(snapshot: Snapshot) -> bool:
    said = summary_of(snapshot)
    return any(int(said.get(key, "0")) for key in ("added-data-files", "deleted-data-files"))
