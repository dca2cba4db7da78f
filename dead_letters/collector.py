"""Collects what Flink has left out: ``python -m dead_letters.collector``, supervised like every service.

Two rules say that a record was left out. A gap: Flink commits exact cuts of the topic, so that an offset which is
missing below the greatest one in the bronze table was not taken. And the tail: what Flink has long committed to
Kafka as read, lies above the greatest offset in the table, and is no valid event, will not appear there.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException, NoSuchTableError, RESTError
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot, ancestors_of

from contracts import Family, LakehouseError, bronze_events, families
from dead_letters import store
from dead_letters.classify import UNKNOWN_DEFECT, ErrorClass, classify
from dead_letters.fetch import CommittedReader, Interrupted, RecordReader
from dead_letters.store import DeadLetter, Position
from resources.catalog import open_catalog
from resources.offsets import HistoryExpiredError, Offsets, added_files, gaps, live_files, read_offsets
from resources.service import run_until_terminated
from resources.snapshots import summary_of
from settings import Settings

POLL_S = 3.0
MAX_BACKOFF_S = 15.0
SETTLED_AFTER_CHECKPOINTS = 3
ROUND_RECORDS = 2_000_000
"""Records of bronze that one round looks at, so that a long history does not have to fit into memory."""
BATCH_RECORDS = 10_000
BATCH_BYTES = 16 << 20

logger = logging.getLogger("dead-letters")


def main() -> None:
    """Run until SIGTERM."""
    run_until_terminated(run, quiet="pyiceberg")


def run(settings: Settings, stopping: threading.Event) -> None:
    """Collect every few seconds, waiting longer after each failure, until ``stopping`` is set."""
    pause = POLL_S
    catalog: Catalog | None = None
    with RecordReader(settings, stopping) as reader:
        collectors = [Collector(settings, family, reader) for family in families()]
        while not stopping.is_set():
            try:
                catalog = catalog or open_catalog(settings)
                for collector in collectors:
                    collector.collect(catalog)
                pause = POLL_S
            except Interrupted:
                return
            except CommitFailedException as error:
                logger.info("%s was changed by another writer (%s): looking again", store.TABLE.identifier, error)
            except (LakehouseError, RESTError, CommitStateUnknownException, NoSuchTableError, OSError) as error:
                pause = min(pause * 2, MAX_BACKOFF_S)
                logger.warning("%s; next try in %.0f s", _first_line(error), pause)
            stopping.wait(pause)


class Collector:
    """Collects the dead letters of one family. What it must not forget stands in the table of dead letters."""

    def __init__(self, settings: Settings, family: Family, reader: RecordReader) -> None:
        self._family = family
        self._reader = reader
        self._committed_reader = CommittedReader(settings, family.job_name, family.topic)
        self._committed = CommittedOffsets(SETTLED_AFTER_CHECKPOINTS * settings.checkpoint_interval_s)

    def collect(self, catalog: Catalog) -> int:
        """Store what was left out since the last time and return how many records that were.

        Raises:
            CommitFailedException: another collector was faster.
            KafkaUnavailableError, RecordsUnavailableError: Kafka is away.
            RESTError, OSError: the catalog or the store is.
            Interrupted: told to stop.
        """
        self._committed.add(time.monotonic(), self._committed_reader.read())
        try:
            bronze = catalog.load_table(bronze_events(self._family).identifier)
        except NoSuchTableError:
            return 0
        letters = store.load(catalog)
        uuid = str(bronze.metadata.table_uuid)
        position = store.read_position(letters, self._family.name)
        known: dict[int, Offsets] = {}
        if position is None or position.table_uuid != uuid:
            position = Position(uuid)
            known = self._stored_offsets(letters)
        collected = 0
        while (until := next_cut(bronze, position.sequence_number)) is not None:
            count, position, letters = self._collect_gaps(bronze, until, letters, position, known)
            collected += count
        count = self._collect_tail(letters, position, known)
        if collected + count:
            logger.info("%s: stored %d dead letters", self._family.name, collected + count)
        return collected + count

    def _collect_gaps(
        self,
        bronze: IcebergTable,
        until: Snapshot,
        letters: IcebergTable,
        position: Position,
        known: Mapping[int, Offsets],
    ) -> tuple[int, Position, IcebergTable]:
        offsets = _offsets_after(bronze, position.sequence_number, until)
        starts = position.next_offsets
        missing = {
            partition: gaps(np.union1d(found, known.get(partition, found[:0])), starts.get(partition, 0))
            for partition, found in offsets.items()
        }
        ends = {partition: int(found[-1]) + 1 for partition, found in offsets.items()}
        reached = replace(
            position,
            snapshot_id=str(until.snapshot_id),
            sequence_number=until.sequence_number or 0,
            next_offsets={**starts, **{p: max(end, starts.get(p, 0)) for p, end in ends.items()}},
        )
        counted = _Counted(in_batches(self._left_out(missing)))
        letters = store.commit(letters, self._family.name, counted, reached)
        return counted.count, reached, letters

    def _left_out(self, missing: Mapping[int, Sequence[range]]) -> Iterator[DeadLetter]:
        for partition, wanted in missing.items():
            if not wanted:
                continue
            first = self._reader.first_offset(self._family.topic, partition)
            if wanted[0].start < first:
                logger.warning(
                    "%s/%d: offsets from %d are not in bronze, and Kafka keeps only those from %d on",
                    self._family.topic, partition, wanted[0].start, first,
                )  # fmt: skip
            for record in self._reader.read(self._family.topic, partition, wanted):
                yield DeadLetter(record, classify(record.value, record.time, self._family) or UNKNOWN_DEFECT)

    def _collect_tail(self, letters: IcebergTable, position: Position, known: Mapping[int, Offsets]) -> int:
        collected = 0
        for partition, end in sorted(self._committed.settled(time.monotonic()).items()):
            while (start := position.next_offsets.get(partition, 0)) < end:
                batch, following = self._tail_batch(partition, range(start, end), known)
                if following == start:
                    break
                position = replace(position, next_offsets={**position.next_offsets, partition: following})
                letters = store.commit(letters, self._family.name, [batch], position)
                collected += len(batch)
        return collected

    def _tail_batch(
        self, partition: int, offsets: range, known: Mapping[int, Offsets]
    ) -> tuple[list[DeadLetter], int]:
        """Records up to the first that may be valid, and the offset to go on from."""
        batch: list[DeadLetter] = []
        size = 0
        stored = set(known[partition].tolist()) if partition in known else set()
        for record in self._reader.read(self._family.topic, partition, [offsets]):
            defect = classify(record.value, record.time, self._family)
            if defect is None or defect.error_class is ErrorClass.UNCLASSIFIED:
                return batch, record.offset
            if record.offset not in stored:
                batch.append(DeadLetter(record, defect))
                size += len(record.value or b"")
            if len(batch) >= BATCH_RECORDS or size >= BATCH_BYTES:
                return batch, record.offset + 1
        return batch, offsets.stop

    def _stored_offsets(self, letters: IcebergTable) -> dict[int, Offsets]:
        head = letters.current_snapshot()
        if head is None:
            return {}
        return read_offsets(letters, live_files(letters, head), topic=self._family.topic)


class CommittedOffsets:
    """What a consumer group has committed, and since when."""

    def __init__(self, settle_s: float) -> None:
        """``settle_s`` is how long an offset has been committed when it counts as settled, in seconds."""
        self._settle_s = settle_s
        self._seen: deque[tuple[float, dict[int, int]]] = deque()

    def add(self, now: float, offsets: dict[int, int]) -> None:
        """Take note of what is committed at ``now``, in seconds of a clock that never goes back."""
        if not self._seen or self._seen[-1][1] != offsets:
            self._seen.append((now, offsets))

    def settled(self, now: float) -> dict[int, int]:
        """What was committed :attr:`settle_s` before ``now``; nothing where that is not known."""
        while len(self._seen) > 1 and self._seen[1][0] <= now - self._settle_s:
            self._seen.popleft()
        if not self._seen or self._seen[0][0] > now - self._settle_s:
            return {}
        return self._seen[0][1]


def next_cut(bronze: IcebergTable, after: int, records: int = ROUND_RECORDS) -> Snapshot | None:
    """The snapshot to look at next: the newest, or an older one where more than ``records`` were added since."""
    newer = [
        s for s in ancestors_of(bronze.current_snapshot(), bronze.metadata) if (s.sequence_number or 0) > after
    ]
    added = 0
    for snapshot in reversed(newer):
        added += int(summary_of(snapshot).get("added-records", "0"))
        if added >= records:
            return snapshot
    return newer[0] if newer else None


def in_batches(letters: Iterator[DeadLetter]) -> Iterator[list[DeadLetter]]:
    """Batches of at most :data:`BATCH_RECORDS` records and little more than :data:`BATCH_BYTES` bytes."""
    batch: list[DeadLetter] = []
    size = 0
    for letter in letters:
        batch.append(letter)
        size += len(letter.record.value or b"")
        if len(batch) >= BATCH_RECORDS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class _Counted:
    """Batches as they come, and how many letters have come."""

    def __init__(self, batches: Iterator[list[DeadLetter]]) -> None:
        self._batches = batches
        self.count = 0

    def __iter__(self) -> Iterator[list[DeadLetter]]:
        for batch in self._batches:
            self.count += len(batch)
            yield batch


def _offsets_after(bronze: IcebergTable, after: int, until: Snapshot) -> dict[int, Offsets]:
    try:
        files = added_files(bronze, after=after, until=until)
    except HistoryExpiredError:
        files = live_files(bronze, until)
    return read_offsets(bronze, files)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


if __name__ == "__main__":
    main()
