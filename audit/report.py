"""What an audit found, as the command line and Dagster show it."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from pydantic import BaseModel, computed_field

MAX_RANGES = 100
"""Ranges of offsets that a report lists; the counts beside them are complete."""


class OffsetRange(BaseModel):
    """Offsets ``first`` to ``last``, both inclusive, of one partition of the topic."""

    partition: int
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.first}" + (f"-{self.last}" if self.last > self.first else "")


class OffsetRanges(BaseModel):
    """Offsets of all partitions: how many, and the first :data:`MAX_RANGES` runs of them."""

    total: int = 0
    runs: int = 0
    ranges: list[OffsetRange] = []

    @classmethod
    def of(cls, runs: Mapping[int, Iterable[range]]) -> "OffsetRanges":
        """Collect runs of offsets by partition."""
        found = [(partition, run) for partition, listed in sorted(runs.items()) for run in listed if run]
        shown = [OffsetRange(partition=number, first=run[0], last=run[-1]) for number, run in found[:MAX_RANGES]]
        return cls(total=sum(len(run) for _, run in found), runs=len(found), ranges=shown)

    def __str__(self) -> str:
        more = f" and {self.runs - len(self.ranges)} more ranges" if self.runs > len(self.ranges) else ""
        return ", ".join(map(str, self.ranges)) + more


class DuplicateCheckpoint(BaseModel):
    """Snapshots that one checkpoint of a Flink job committed, of which there may be one."""

    job_id: str
    operator_id: str
    checkpoint_id: int
    snapshot_ids: list[str]


class AddedRecordsMismatch(BaseModel):
    """Rows by the sums of the snapshots' summaries, and rows listed in the manifests."""

    by_summaries: int
    live: int


class Behind(BaseModel):
    """A partition whose committed consumer offset the table has not reached."""

    partition: int
    position: int
    committed: int


class WatermarkRegression(BaseModel):
    """A commit with a window that ends before one of an earlier commit ended."""

    snapshot_id: str
    window_end: datetime
    greatest_before: datetime


class TableAudit(BaseModel):
    """The audit of one bronze table, and of the windows made from the same topic.

    ``rows`` is all of the table, ``checked_rows`` what this run read. ``control_records`` are offsets that hold
    no published record: transaction markers and aborted records. ``unverifiable`` offsets are in no table, and
    Kafka no longer has them, so that nobody can say what they were.
    """

    table: str
    full: bool
    snapshot_id: str | None
    rows: int
    checked_rows: int
    dead_letters: int
    control_records: int
    missing: int
    doubled: int
    unverifiable: int
    missing_offsets: OffsetRanges
    doubled_offsets: OffsetRanges
    unverifiable_offsets: OffsetRanges
    first_offsets: dict[int, int]
    """Where the proof begins, by partition."""
    next_offsets: dict[int, int]
    """Where it ends, exclusive."""
    duplicate_checkpoints: list[DuplicateCheckpoint]
    added_records_mismatch: AddedRecordsMismatch | None
    behind: list[Behind]
    collector_behind: str | None
    """Why rows were left out: the collector of dead letters has not looked at them yet."""
    watermark_regressions: list[WatermarkRegression]
    doubled_windows: int
    seconds: float
    waited_seconds: float
    """Of these, for the collector of dead letters: it had not been through all that was in the table."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ok(self) -> bool:
        """Whether every published event is there once, and provably so."""
        return not self.violations()

    def violations(self) -> list[str]:
        """One line for each kind of violation, with the exact offsets as ``partition:first-last``."""
        lines = [
            f"{ranges.total:,} offsets {what}: {ranges}"
            for what, ranges in (
                ("missing", self.missing_offsets),
                ("doubled", self.doubled_offsets),
                ("in no table and no longer in Kafka", self.unverifiable_offsets),
            )
            if ranges.total
        ]
        lines += [
            f"checkpoint {found.checkpoint_id} of job {found.job_id} committed more than once: "
            f"snapshots {', '.join(found.snapshot_ids)}"
            for found in self.duplicate_checkpoints
        ]
        if (mismatch := self.added_records_mismatch) is not None:
            lines.append(
                f"the summaries add up to {mismatch.by_summaries:,} rows, the table has {mismatch.live:,}"
            )
        lines += [
            f"partition {found.partition} is proven up to {found.position}, but committed up to {found.committed}"
            for found in self.behind
        ]
        if self.collector_behind is not None:
            lines.append(self.collector_behind)
        lines += [
            f"snapshot {found.snapshot_id} has a window that ends {found.window_end:%Y-%m-%dT%H:%M:%SZ}, but one "
            f"that ends {found.greatest_before:%Y-%m-%dT%H:%M:%SZ} was committed before"
            for found in self.watermark_regressions
        ]
        if self.doubled_windows:
            lines.append(f"{self.doubled_windows:,} windows stand twice")
        return lines


class AuditReport(BaseModel):
    """The audit of all tables that were asked for."""

    tables: list[TableAudit]
    seconds: float

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ok(self) -> bool:
        """Whether every table is proven."""
        return all(table.ok for table in self.tables)
