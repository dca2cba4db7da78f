"""The audit of one bronze table: reads what is new, holds it against Kafka, and moves the cursor if it holds."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot

from audit.collector import explained_offsets, reached
from audit.contiguity import NONE, contiguity, explain
from audit.cursor import Cursor, Pin
from audit.history import duplicate_checkpoints, history, live_rows, net_records, rows_by_summaries
from audit.lag import behind
from audit.report import AddedRecordsMismatch, OffsetRanges, TableAudit
from audit.sources import Progress, Sources, Tables
from audit.windows import check_windows
from contracts import Family, bronze_events, silver_1m
from resources.offsets import AddedFile, Offsets, added_files, live_files, read_offsets

FILES_PER_READ = 64


@dataclass(frozen=True, slots=True)
class State:
    """What an audit is about: the tables as loaded, and the snapshot of each."""

    tables: Tables
    bronze: Snapshot | None
    dead_letters: Snapshot | None
    windows: Snapshot | None

    def pairs(self) -> tuple[tuple[IcebergTable, Snapshot | None], ...]:
        """Each table with its snapshot, as the cursor pins them."""
        return (
            (self.tables.bronze, self.bronze),
            (self.tables.dead_letters, self.dead_letters),
            (self.tables.windows, self.windows),
        )


def audit_table(sources: Sources, family: Family, *, full: bool, wait_s: float, progress: Progress) -> TableAudit:
    """Audit the bronze table of ``family`` at the newest snapshot that the collector has reached.

    What was proven before is not read again, unless ``full``, or unless the table was changed by other than
    appends and compaction.

    Raises:
        AuditError: the broker does not answer.
        DeleteFilesError: a table has delete files.
    """
    started = time.monotonic()
    declared = bronze_events(family)
    committed = sources.broker.committed_offsets(family.topic, family.job_name)
    kept_from = sources.broker.first_offsets(family.topic)
    asked = time.monotonic()
    tables, waited = sources.await_collector(
        family, committed=committed, kept_from=kept_from, wait_s=wait_s, progress=progress
    )
    waited_s = time.monotonic() - asked
    state = State(
        tables,
        reached(tables.bronze, tables.position),
        tables.dead_letters.current_snapshot(),
        tables.windows.current_snapshot(),
    )
    known = None if full else sources.cursors.load(declared.identifier)
    cursor = known if known is not None and known.holds(state.pairs()) else None

    bronze_files = _new_files(tables.bronze, state.bronze, None if cursor is None else cursor.bronze)
    dead_files = _new_files(
        tables.dead_letters, state.dead_letters, None if cursor is None else cursor.dead_letters
    )
    bronze = _read(tables.bronze, bronze_files, progress, declared.identifier)
    dead = explained_offsets(dead_files, tables.dead_letters, family.topic)

    ends = _ends(bronze, dead, {} if tables.position is None else tables.position.next_offsets, cursor)
    first_offsets = _starts(bronze, dead, ends, kept_from) if cursor is None else cursor.first_offsets
    found = contiguity(bronze, dead, starts=first_offsets if cursor is None else cursor.next_offsets, ends=ends)
    explained = explain(sources.broker, family.topic, found.holes, kept_from)
    windows = check_windows(
        silver_1m(family),
        tables.windows,
        state.windows,
        after=None if cursor is None else cursor.windows.sequence_number,
        greatest_end=None if cursor is None else cursor.greatest_window_end,
    )
    missing, doubled = OffsetRanges.of(explained.missing), OffsetRanges.of(found.doubled)
    unverifiable = OffsetRanges.of(explained.unverifiable)
    result = TableAudit(
        table=declared.identifier,
        full=cursor is None,
        snapshot_id=None if state.bronze is None else str(state.bronze.snapshot_id),
        rows=0 if state.bronze is None else live_rows(tables.bronze, state.bronze),
        checked_rows=_count(bronze),
        dead_letters=_count(dead) + (0 if cursor is None else cursor.dead_letter_count),
        control_records=explained.control_records + (0 if cursor is None else cursor.control_records),
        missing=missing.total,
        doubled=doubled.total,
        unverifiable=unverifiable.total,
        missing_offsets=missing,
        doubled_offsets=doubled,
        unverifiable_offsets=unverifiable,
        first_offsets=first_offsets,
        next_offsets=ends,
        duplicate_checkpoints=(
            [] if state.bronze is None else duplicate_checkpoints(history(tables.bronze, state.bronze))
        ),
        added_records_mismatch=_mismatch(tables.bronze, state.bronze, cursor),
        behind=behind(sources.broker, family.topic, committed, ends, kept_from),
        collector_behind=waited,
        watermark_regressions=windows.regressions,
        doubled_windows=windows.doubled,
        seconds=round(time.monotonic() - started, 3),
        waited_seconds=round(waited_s, 3),
    )
    if result.ok:
        pins = [Pin.of(*pair) for pair in state.pairs()]
        sources.cursors.save(
            declared.identifier,
            Cursor(
                bronze=pins[0],
                dead_letters=pins[1],
                windows=pins[2],
                first_offsets=first_offsets,
                next_offsets=ends,
                rows=result.rows,
                dead_letter_count=result.dead_letters,
                control_records=result.control_records,
                greatest_window_end=windows.greatest_end,
            ),
        )
    return result


def _new_files(table: IcebergTable, until: Snapshot | None, pin: Pin | None) -> list[AddedFile]:
    if until is None:
        return []
    return live_files(table, until) if pin is None else added_files(table, after=pin.sequence_number, until=until)


def _read(table: IcebergTable, files: Sequence[AddedFile], progress: Progress, name: str) -> dict[int, Offsets]:
    parts: dict[int, list[Offsets]] = {}
    for begin in range(0, len(files), FILES_PER_READ):
        progress(f"{name}: files", begin, len(files))
        for partition, offsets in read_offsets(table, files[begin : begin + FILES_PER_READ]).items():
            parts.setdefault(partition, []).append(offsets)
    progress(f"{name}: files", len(files), len(files))
    return {partition: np.sort(np.concatenate(listed)) for partition, listed in parts.items()}


def _ends(
    bronze: Mapping[int, Offsets],
    dead: Mapping[int, Offsets],
    collected: Mapping[int, int],
    cursor: Cursor | None,
) -> dict[int, int]:
    """Offset after the last one that is accounted for, by partition."""
    before = {} if cursor is None else cursor.next_offsets
    return {
        partition: max(
            collected.get(partition, 0),
            before.get(partition, 0),
            *(int(offsets[-1]) + 1 for table in (bronze, dead) if (offsets := table.get(partition, NONE)).size),
        )
        for partition in sorted({*bronze, *dead, *collected, *before})
    }


def _starts(
    bronze: Mapping[int, Offsets],
    dead: Mapping[int, Offsets],
    ends: Mapping[int, int],
    kept_from: Mapping[int, int],
) -> dict[int, int]:
    """First offset that must be there: that of the oldest row, or of an older record that Kafka still has."""
    return {
        partition: min(
            kept_from.get(partition, 0),
            end,
            *(int(offsets[0]) for table in (bronze, dead) if (offsets := table.get(partition, NONE)).size),
        )
        for partition, end in ends.items()
    }


def _mismatch(table: IcebergTable, until: Snapshot | None, cursor: Cursor | None) -> AddedRecordsMismatch | None:
    if until is None:
        return None
    snapshots = history(table, until)
    if cursor is None:
        expected = rows_by_summaries(table, snapshots)
    else:
        since = [s for s in snapshots if (s.sequence_number or 0) > cursor.bronze.sequence_number]
        expected = cursor.rows + sum(map(net_records, since))
    live = live_rows(table, until)
    return None if expected == live else AddedRecordsMismatch(by_summaries=expected, live=live)


def _count(offsets: Mapping[int, Offsets]) -> int:
    return sum(part.size for part in offsets.values())
