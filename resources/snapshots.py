"""What the snapshots of an Iceberg table tell: who committed, how much, how new."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from pyiceberg.manifest import ManifestContent, ManifestEntryStatus
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Operation, Snapshot, ancestors_of

from contracts import Table, Writer

FLINK_CHECKPOINT = "flink.max-committed-checkpoint-id"
FLINK_JOB = "flink.job-id"
FLINK_WATERMARK = "flink.watermark"
RUN_PROPERTY = "lakehouse.run-id"
"""Property of a snapshot that names the batch run which wrote it."""


@dataclass(frozen=True, slots=True)
class StreamCommit:
    """One snapshot of a table that is written all the time.

    ``newest_event`` is the greatest event time of the rows it added, ``None`` if it added none. ``watermark``
    is the one that Flink stored with the snapshot, where the sink was told to; a commit of another writer has
    neither job nor checkpoint.
    """

    snapshot_id: int
    sequence_number: int
    committed_at: datetime
    added_records: int
    total_records: int
    job_id: str | None
    checkpoint_id: int | None
    newest_event: datetime | None
    watermark: datetime | None

    @property
    def lag(self) -> timedelta | None:
        """How long after its newest event the commit came."""
        return None if self.newest_event is None else self.committed_at - self.newest_event


def summary_of(snapshot: Snapshot) -> dict[str, str]:
    """What the writer noted with the snapshot."""
    return {} if snapshot.summary is None else snapshot.summary.additional_properties


def committed_at(snapshot: Snapshot) -> datetime:
    """When the snapshot was committed, by the clock of its writer."""
    return _instant(snapshot.timestamp_ms)


def checkpoint_of(snapshot: Snapshot) -> int | None:
    """The newest checkpoint of Flink that the snapshot holds."""
    checkpoint = summary_of(snapshot).get(FLINK_CHECKPOINT)
    return None if checkpoint is None else int(checkpoint)


def watermark_of(snapshot: Snapshot) -> datetime | None:
    """The watermark that Flink stored with the snapshot, where the sink was told to."""
    watermark = summary_of(snapshot).get(FLINK_WATERMARK)
    return None if watermark is None else _instant(int(watermark))


def stream_commits(table: IcebergTable, declared: Table, *, after: int, limit: int) -> list[StreamCommit]:
    """The first ``limit`` commits of the table's writer with a sequence number above ``after``, oldest first.

    Sequence numbers only grow, so that nothing comes twice when snapshots expire or are rolled back. Commits of
    others, such as compaction, are left out.
    """
    newer = takewhile(
        lambda snapshot: (snapshot.sequence_number or 0) > after,
        ancestors_of(table.current_snapshot(), table.metadata),
    )
    written = [snapshot for snapshot in newer if _is_of_writer(snapshot, declared.writer)]
    return [_commit(table, snapshot, declared.event_time) for snapshot in reversed(written[-limit:])]


def last_committed_at(table: IcebergTable, declared: Table) -> datetime | None:
    """When the table's writer committed last, ``None`` if never; compaction and other writers do not count."""
    history = ancestors_of(table.current_snapshot(), table.metadata)
    newest = next((snapshot for snapshot in history if _is_of_writer(snapshot, declared.writer)), None)
    return None if newest is None else _instant(newest.timestamp_ms)


def _is_of_writer(snapshot: Snapshot, writer: Writer) -> bool:
    if writer is Writer.FLINK:
        return FLINK_CHECKPOINT in summary_of(snapshot)
    return snapshot.summary is not None and snapshot.summary.operation is Operation.APPEND


def _commit(table: IcebergTable, snapshot: Snapshot, event_time: str) -> StreamCommit:
    summary = summary_of(snapshot)
    return StreamCommit(
        snapshot_id=snapshot.snapshot_id,
        sequence_number=snapshot.sequence_number or 0,
        committed_at=committed_at(snapshot),
        added_records=int(summary.get("added-records", "0")),
        total_records=int(summary.get("total-records", "0")),
        job_id=summary.get(FLINK_JOB),
        checkpoint_id=checkpoint_of(snapshot),
        newest_event=_newest_event(table, snapshot, event_time),
        watermark=watermark_of(snapshot),
    )


def _newest_event(table: IcebergTable, snapshot: Snapshot, event_time: str) -> datetime | None:
    column = table.schema().find_field(event_time).field_id
    bounds = [
        # single-value serialization of the Iceberg specification, appendix D: microseconds, little-endian
        int.from_bytes(entry.data_file.upper_bounds[column], "little", signed=True)
        for manifest in snapshot.manifests(table.io)
        if manifest.content == ManifestContent.DATA and manifest.added_snapshot_id == snapshot.snapshot_id
        for entry in manifest.fetch_manifest_entry(table.io)
        # a merged manifest also lists files of earlier snapshots
        if entry.status == ManifestEntryStatus.ADDED and column in (entry.data_file.upper_bounds or {})
    ]
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=max(bounds)) if bounds else None


def _instant(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
