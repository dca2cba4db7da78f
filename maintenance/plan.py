"""What there is to do for a table, from its metadata alone; nothing is changed and no data is read."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from pydantic import BaseModel
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot, ancestors_of

from contracts import Maintenance, Table, Transform
from maintenance.statistics import columns_with_statistics, newest_with_statistics
from resources.offsets import AddedFile, live_files
from resources.snapshots import FLINK_JOB, summary_of

SMALL_SHARE = 0.75
"""Of the target size: a smaller file is worth joining (Iceberg's own default of ``min-file-size-bytes``)."""
CLOSED_COMPACT_AT = 2
MAX_PARTITIONS = 100
"""Joined in one go, oldest first; after a load of years of history the next goes on."""
EPOCH = date(1970, 1, 1)


class PartitionFiles(BaseModel):
    """The data files of one partition; ``day`` is none in a table without partitions by day."""

    day: date | None
    closed: bool
    files: int
    small_files: int
    bytes: int


class Plan(BaseModel):
    """What is due, and the table as it is."""

    table: str
    files: int
    bytes: int
    manifests: int
    snapshots: int
    compact: list[PartitionFiles]
    """Partitions whose small files are joined, at most :data:`MAX_PARTITIONS`."""
    expire_before: datetime | None
    """Snapshots older than this go; none where none is old enough."""
    expire_snapshots: int
    rewrite_manifests: bool
    statistics: list[str]
    """Columns whose distinct values are counted."""

    @property
    def is_due(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.compact) or self.expire_snapshots > 0 or self.rewrite_manifests or bool(self.statistics)


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the retained history will begin, and how many snapshots that takes away."""

    before: datetime | None
    snapshots: int


def plan(table: IcebergTable, declared: Table, now: datetime, families_by_job: Mapping[str, str]) -> Plan:
    """What is due for ``table`` at ``now``.

    Args:
        table: the table as it is.
        declared: its contract.
        now: instant that ages are counted from.
        families_by_job: family that each Flink job id writes for; a job gets a new id with each start.

    Raises:
        DeleteFilesError: the table has delete files, which nothing here writes.
    """
    current = table.current_snapshot()
    files = [] if current is None else live_files(table, current)
    manifests = [] if current is None else current.manifests(table.io)
    rules = declared.maintenance
    cut = expiry(table, rules, now, families_by_job)
    compact = [part for part in partitions(files, declared, now) if _is_scattered(part, rules)][:MAX_PARTITIONS]
    is_due = bool(files) and statistics_are_due(table, rules, now, compact, cut)
    return Plan(
        table=declared.identifier,
        files=len(files),
        bytes=sum(file.data_file.file_size_in_bytes for file in files),
        manifests=len(manifests),
        snapshots=len(table.metadata.snapshots),
        compact=compact,
        expire_before=cut.before,
        expire_snapshots=cut.snapshots,
        rewrite_manifests=len(manifests) >= rules.max_manifests,
        statistics=columns_with_statistics(declared) if is_due else [],
    )


def partitions(files: Iterable[AddedFile], declared: Table, now: datetime) -> list[PartitionFiles]:
    """The files by partition, oldest first."""
    by_day: dict[date | None, list[int]] = defaultdict(list)
    has_days = bool(declared.partitioning) and declared.partitioning[0].transform is Transform.DAY
    for file in files:
        day = EPOCH + timedelta(days=file.data_file.partition[0]) if has_days else None
        by_day[day].append(file.data_file.file_size_in_bytes)
    small = SMALL_SHARE * declared.maintenance.target_file_bytes
    closed_before = now - declared.maintenance.closes_after
    return [
        PartitionFiles(
            day=day,
            closed=day is not None and _end(day) <= closed_before,
            files=len(sizes),
            small_files=sum(size < small for size in sizes),
            bytes=sum(sizes),
        )
        for day, sizes in sorted(by_day.items(), key=lambda item: item[0] or date.min)
    ]


def expiry(table: IcebergTable, rules: Maintenance, now: datetime, families_by_job: Mapping[str, str]) -> Cut:
    """Where the history of ``table`` may be cut.

    The last commit of each Flink job stays, and all after it: a job that is restored looks back from the
    newest snapshot for its own last one, to tell what it has committed already, and would commit it again if it
    were gone. The history stays in one piece, since that search goes from parent to parent.
    """
    current = table.current_snapshot()
    if current is None:
        return Cut(None, 0)
    newest_first = list(ancestors_of(current, table.metadata))
    kept = newest_first[: rules.keep_at_least] + last_commits(newest_first, families_by_job)
    before = min(now - rules.keep_snapshots, *map(_committed_at, kept))
    old = sum(_committed_at(snapshot) < before for snapshot in newest_first)
    return Cut(before if old else None, old)


def last_commits(newest_first: Iterable[Snapshot], families_by_job: Mapping[str, str]) -> list[Snapshot]:
    """The newest snapshot that the Flink job of each family committed.

    A job id that ``families_by_job`` does not know was followed by another of the same family.
    """
    newest: dict[str, Snapshot] = {}
    for snapshot in newest_first:
        if (family := families_by_job.get(summary_of(snapshot).get(FLINK_JOB, ""))) is not None:
            newest.setdefault(family, snapshot)
    return list(newest.values())


def statistics_are_due(
    table: IcebergTable, rules: Maintenance, now: datetime, compact: Iterable[PartitionFiles], cut: Cut
) -> bool:
    """Whether the statistics of ``table`` are to be computed, once ``compact`` is joined and history is ``cut``.

    That is so where a closed partition is joined, where no snapshot that stays has any, and where the newest
    that has is old enough and has been followed by others.
    """
    current = table.current_snapshot()
    if rules.statistics_after is None or current is None:
        return False
    newest = newest_with_statistics(table)
    if newest is None or any(part.closed for part in compact):
        return True
    if cut.before is not None and _committed_at(newest) < cut.before:
        return True
    return newest != current and now - _committed_at(newest) >= rules.statistics_after


def _is_scattered(part: PartitionFiles, rules: Maintenance) -> bool:
    return part.small_files >= (CLOSED_COMPACT_AT if part.closed else rules.compact_at)


def _end(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)


def _committed_at(snapshot: Snapshot) -> datetime:
    return datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC)
