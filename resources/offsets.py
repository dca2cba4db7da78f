"""Kafka offsets that travel with the rows of a table: which files hold them, and what is missing or doubled."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyiceberg.manifest import DataFile, ManifestContent, ManifestEntry, ManifestEntryStatus, ManifestFile
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Operation, Snapshot, ancestors_of

from contracts import LakehouseError
from resources.snapshots import summary_of

Offsets = NDArray[np.int64]

READ_THREADS = 4


class HistoryExpiredError(LakehouseError):
    """Snapshots that are asked for were expired: what they added cannot be told from what they rewrote."""


class DeleteFilesError(LakehouseError):
    """A table that is only appended to has delete files, so that its data files alone are not its rows."""


@dataclass(frozen=True, slots=True)
class AddedFile:
    """One data file, and the snapshot that added it."""

    data_file: DataFile
    snapshot_id: int
    sequence_number: int

    @property
    def path(self) -> str:
        """Location in the object store."""
        return self.data_file.file_path

    @property
    def records(self) -> int:
        """Rows in the file."""
        return self.data_file.record_count


def added_files(table: IcebergTable, *, after: int, until: Snapshot) -> list[AddedFile]:
    """Data files that ancestors of ``until`` with a sequence number above ``after`` appended, oldest first.

    Files that compaction has written (operation ``replace``) are not new, and those that it has replaced are
    listed as they were appended. A file that was appended twice is listed twice.

    Raises:
        HistoryExpiredError: snapshots in between were expired; :func:`live_files` still gives all rows.
    """
    newer = [s for s in ancestors_of(until, table.metadata) if (s.sequence_number or 0) > after]
    if newer and not follows(table, newer[-1], after):
        raise HistoryExpiredError(
            f"{'.'.join(table.name())}: snapshots after sequence number {after} were expired, the oldest left "
            f"is {newer[-1].snapshot_id} with {newer[-1].sequence_number}"
        )
    appended = {s.snapshot_id: s for s in newer if operation(s) is Operation.APPEND}
    found = [file for file in _files(table, until, after) if file.snapshot_id in appended]
    listed: dict[int, int] = dict.fromkeys(appended, 0)
    for file in found:
        listed[file.snapshot_id] += 1
    # what was replaced or removed since is listed by the snapshot that appended it
    incomplete = {id_ for id_, s in appended.items() if listed[id_] != _added_file_count(s, listed[id_])}
    found = [file for file in found if file.snapshot_id not in incomplete]
    for id_ in incomplete:
        found += (file for file in _files(table, appended[id_], after) if file.snapshot_id == id_)
    return sorted(found, key=lambda file: (file.sequence_number, file.path))


def files_since(table: IcebergTable, *, after: int, until: Snapshot) -> list[AddedFile]:
    """Data files that hold at least all rows appended after sequence number ``after``, oldest first.

    They are those of :func:`added_files`. Where snapshots in between were expired, they are all that were written
    since then and are still listed: rows that compaction has rewritten may come again, and none is missing.
    """
    try:
        return added_files(table, after=after, until=until)
    except HistoryExpiredError:
        return sorted(_files(table, until, after), key=lambda file: (file.sequence_number, file.path))


def live_files(table: IcebergTable, snapshot: Snapshot) -> list[AddedFile]:
    """Data files that make up the table at ``snapshot``, oldest first; one that is listed twice comes twice.

    Raises:
        DeleteFilesError: rows are deleted by delete files, which this does not read.
    """
    return sorted(_files(table, snapshot, after=-1), key=lambda file: (file.sequence_number, file.path))


def read_columns(table: IcebergTable, files: Iterable[AddedFile], columns: Sequence[str]) -> list[pa.Table]:
    """The ``columns`` of each file, in the order of ``files``; nothing else is read of them."""

    def read(file: AddedFile) -> pa.Table:
        with table.io.new_input(file.path).open() as stream:
            return pq.ParquetFile(stream, pre_buffer=True).read(columns=list(columns), use_threads=False)

    with ThreadPoolExecutor(READ_THREADS, thread_name_prefix="read-columns") as pool:
        return list(pool.map(read, files))


def read_offsets(
    table: IcebergTable,
    files: Iterable[AddedFile],
    *,
    partition_column: str = "kafka_partition",
    offset_column: str = "kafka_offset",
    topic: str | None = None,
) -> dict[int, Offsets]:
    """Sorted offsets in ``files`` by Kafka partition, those that stand twice kept.

    ``topic`` leaves out the rows of other topics, in a table that has a column of that name.
    """
    columns = [partition_column, offset_column, *(["topic"] if topic is not None else [])]
    tables = read_columns(table, files, columns)
    if topic is not None:
        tables = [rows.filter(pc.field("topic") == topic) for rows in tables]
    return offsets_by_partition(tables, partition_column=partition_column, offset_column=offset_column)


def offsets_by_partition(
    tables: Sequence[pa.Table], *, partition_column: str = "kafka_partition", offset_column: str = "kafka_offset"
) -> dict[int, Offsets]:
    """Sorted offsets in ``tables`` by Kafka partition, those that stand twice kept."""
    if not tables:
        return {}
    partitions = np.concatenate([rows[partition_column].to_numpy() for rows in tables])
    offsets = np.concatenate([rows[offset_column].to_numpy() for rows in tables]).astype(np.int64, copy=False)
    return {int(number): np.sort(offsets[partitions == number]) for number in np.unique(partitions)}


def gaps(offsets: Offsets, start: int) -> list[range]:
    """Runs of offsets that are missing between ``start`` and the greatest of the sorted ``offsets``."""
    known = np.concatenate([np.array([start - 1], np.int64), offsets[offsets >= start]])
    before = np.flatnonzero(np.diff(known) > 1)
    return [range(int(low) + 1, int(high)) for low, high in zip(known[before], known[before + 1], strict=True)]


def doubled(offsets: Offsets) -> Offsets:
    """Those of the sorted ``offsets`` that stand more than once, each once."""
    return np.unique(offsets[1:][offsets[1:] == offsets[:-1]])


def operation(snapshot: Snapshot) -> Operation:
    """What kind of change the snapshot made; one without a summary counts as an overwrite."""
    return Operation.OVERWRITE if snapshot.summary is None else snapshot.summary.operation


def follows(table: IcebergTable, oldest: Snapshot, after: int) -> bool:
    """Whether nothing was expired between sequence number ``after`` and the ``oldest`` snapshot above it.

    Sequence numbers of a table are dense, and the first is 1. Expiry by PyIceberg leaves the oldest snapshot
    without a parent, expiry by Iceberg's Java library with one that is gone.
    """
    parent = oldest.parent_snapshot_id
    known = parent is not None and table.metadata.snapshot_by_id(parent) is not None
    return known or (oldest.sequence_number or 0) <= after + 1


def _added_file_count(snapshot: Snapshot, otherwise: int) -> int:
    return int(summary_of(snapshot).get("added-data-files", otherwise))


def _files(table: IcebergTable, snapshot: Snapshot, after: int) -> Iterable[AddedFile]:
    """Data files listed at ``snapshot`` that came with a sequence number above ``after``."""

    def entries(manifest: ManifestFile) -> list[ManifestEntry]:
        return manifest.fetch_manifest_entry(table.io)

    manifests = snapshot.manifests(table.io)
    if any(manifest.content == ManifestContent.DELETES for manifest in manifests):
        raise DeleteFilesError(
            f"{'.'.join(table.name())} has delete files, but is only ever appended to: "
            "rewrite its data files (Spark: rewrite_data_files with delete-file-threshold 1) first"
        )
    # a manifest is never older than the newest file in it
    wanted = [manifest for manifest in manifests if manifest.sequence_number > after]
    with ThreadPoolExecutor(READ_THREADS, thread_name_prefix="read-manifests") as pool:
        for entry in (entry for listed in pool.map(entries, wanted) for entry in listed):
            added = entry.file_sequence_number or 0
            if entry.status != ManifestEntryStatus.DELETED and added > after:
                yield AddedFile(entry.data_file, entry.snapshot_id or 0, added)
