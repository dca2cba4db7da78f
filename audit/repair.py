"""Removes rows that were committed twice, in one Iceberg commit, and proves the result."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pydantic import BaseModel
from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan, _dataframe_to_data_files
from pyiceberg.manifest import DataFile
from pyiceberg.table import FileScanTask
from pyiceberg.table import Table as IcebergTable
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from audit.bronze import audit_table
from audit.errors import RepairError
from audit.history import REPAIR, RepairMark, duplicate_checkpoints, history
from audit.report import TableAudit
from audit.run import WAIT_S
from audit.sources import Progress, Sources, silent
from contracts import Family, bronze_events
from resources.offsets import AddedFile, live_files, read_columns
from settings import Settings

PLACE = ("kafka_partition", "kafka_offset")
COMMIT_ATTEMPTS = 10


class RepairReport(BaseModel):
    """What a repair removed, and the full audit after it."""

    table: str
    removed_rows: int
    snapshot_id: str | None
    """The snapshot that removed them; none where nothing was doubled."""
    repaired_snapshots: list[str]
    """The snapshots that had brought rows or a checkpoint a second time."""
    proof: TableAudit


@dataclass(frozen=True, slots=True)
class Mending:
    """One data file with rows that stand twice: how often it is listed, and which of its rows stay."""

    file: AddedFile
    listed: int
    stay: np.ndarray[tuple[int], np.dtype[np.bool_]]


def repair(
    settings: Settings, family: Family, *, wait_s: float = WAIT_S, progress: Progress = silent
) -> RepairReport:
    """Remove the doubled rows from the bronze table of ``family``, then audit all of it.

    Of the rows with the same Kafka partition and offset the one that was committed first stays.

    Raises:
        RepairError: other commits kept coming in between.
        AuditError: the broker does not answer.
    """
    return repair_table(Sources.of(settings), family, wait_s=wait_s, progress=progress)


def repair_table(sources: Sources, family: Family, *, wait_s: float, progress: Progress) -> RepairReport:
    """Repair with the ``sources`` given, see :func:`repair`."""
    identifier = bronze_events(family).identifier
    try:
        snapshot_id, mark = _remove_doubled(sources, identifier, progress)
    except (CommitFailedException, ValidationException) as error:
        raise RepairError(
            f"{identifier} was not repaired: other commits came in between {COMMIT_ATTEMPTS} times; try again, "
            f"or stop the job first (./lakehouse jobs stop {family.name})"
        ) from error
    proof = audit_table(sources, family, full=True, wait_s=wait_s, progress=progress)
    return RepairReport(
        table=identifier,
        removed_rows=mark.removed_records,
        snapshot_id=snapshot_id,
        repaired_snapshots=mark.snapshot_ids,
        proof=proof,
    )


@retry(
    retry=retry_if_exception_type((CommitFailedException, ValidationException)),
    stop=stop_after_attempt(COMMIT_ATTEMPTS),
    wait=wait_random_exponential(multiplier=0.2, max=5),
    reraise=True,
)
def _remove_doubled(sources: Sources, identifier: str, progress: Progress) -> tuple[str | None, RepairMark]:
    """Commit the table without its doubled rows; the mark says what was removed."""
    table = sources.catalog.load_table(identifier)
    current = table.current_snapshot()
    if current is None:
        return None, RepairMark(removed_records=0, snapshot_ids=[])
    files = live_files(table, current)
    progress(f"{identifier}: looking for doubled rows", 0, 0)
    mendings, again = _mendings(table, files)
    repeated = {id_ for claim in duplicate_checkpoints(history(table, current)) for id_ in claim.snapshot_ids[1:]}
    mark = RepairMark(
        removed_records=sum(m.file.records * m.listed - int(m.stay.sum()) for m in mendings),
        snapshot_ids=sorted(repeated | {str(snapshot_id) for snapshot_id in again}),
    )
    if not mendings and not repeated:
        return None, mark
    progress(f"{identifier}: removing {mark.removed_records:,} rows", 0, 0)
    with table.transaction() as transaction:
        overwrite = transaction.update_snapshot({REPAIR: mark.model_dump_json()}).overwrite()
        for mending in mendings:
            # by its path: all entries of a file that is listed twice
            overwrite.delete_data_file(mending.file.data_file)
            for data_file in _rewritten(table, mending):
                overwrite.append_data_file(data_file)
        overwrite.commit()
    return str(overwrite.snapshot_id), mark


def _mendings(table: IcebergTable, files: Sequence[AddedFile]) -> tuple[list[Mending], set[int]]:
    """Files with rows that must go, and the snapshots that had committed those rows; ``files`` oldest first."""
    by_path: dict[str, list[AddedFile]] = {}
    for file in files:
        by_path.setdefault(file.path, []).append(file)
    firsts = [entries[0] for entries in by_path.values()]
    stay = _first_occurrences(read_columns(table, firsts, PLACE))
    mendings, again = [], set()
    for file, kept in zip(firsts, stay, strict=True):
        entries = by_path[file.path]
        if len(entries) > 1 or not kept.all():
            mendings.append(Mending(file, len(entries), kept))
            again |= {entry.snapshot_id for entry in (entries[1:] if kept.all() else entries)}
    return mendings, again


def _first_occurrences(tables: Sequence[pa.Table]) -> list[np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """For each table, which of its rows are the first with their partition and offset in all of them."""
    partitions, offsets = (
        np.concatenate([rows[column].to_numpy().astype(np.int64) for rows in tables])
        if tables
        else np.empty(0, np.int64)
        for column in PLACE
    )
    # lexsort is stable: of equal places the earlier row comes first
    order = np.lexsort((offsets, partitions))
    again = np.zeros(len(order), np.bool_)
    again[1:] = (np.diff(partitions[order]) == 0) & (np.diff(offsets[order]) == 0)
    first = np.empty(len(order), np.bool_)
    first[order] = ~again
    return np.split(first, np.cumsum([len(rows) for rows in tables])[:-1]) if tables else []


def _rewritten(table: IcebergTable, mending: Mending) -> Iterator[DataFile]:
    """The files that take the place of the one to mend; itself, if it only was listed twice."""
    if mending.stay.all():
        yield mending.file.data_file
    elif mending.stay.any():
        scan = ArrowScan(table.metadata, table.io, table.schema(), AlwaysTrue())
        rows = scan.to_table([FileScanTask(mending.file.data_file)]).filter(pa.array(mending.stay))
        yield from _dataframe_to_data_files(table.metadata, rows, table.io)
