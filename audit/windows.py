"""The watermark as the windows show it: no commit goes back in time, and no window comes twice."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot

from audit.history import history
from audit.report import WatermarkRegression
from contracts import Table
from resources.offsets import AddedFile, added_files, live_files, read_columns
from resources.snapshots import FLINK_CHECKPOINT, summary_of

WINDOW_END = "window_end"


@dataclass(frozen=True, slots=True)
class WindowCheck:
    """Regressions, windows that stand more than once, and the greatest end of a window so far."""

    regressions: list[WatermarkRegression]
    doubled: int
    greatest_end: datetime | None


def check_windows(
    declared: Table,
    table: IcebergTable,
    until: Snapshot | None,
    *,
    after: int | None,
    greatest_end: datetime | None,
) -> WindowCheck:
    """Check the windows that were committed after sequence number ``after``; without one, all of them.

    ``greatest_end`` is the end of the last window up to there. The ends come from the bounds in the manifests.
    Of the files only the key is read.
    """
    if until is None:
        return WindowCheck([], 0, greatest_end)
    snapshots = history(table, until)
    new = added_files(
        table, after=(snapshots[0].sequence_number or 0) - 1 if after is None else after, until=until
    )
    flink = {s.snapshot_id for s in snapshots if FLINK_CHECKPOINT in summary_of(s)}
    field_id = table.schema().find_field(WINDOW_END).field_id
    regressions = []
    for snapshot_id, (first, last) in _ends(field_id, [file for file in new if file.snapshot_id in flink]).items():
        if greatest_end is not None and first < greatest_end:
            regressions.append(
                WatermarkRegression(snapshot_id=str(snapshot_id), window_end=first, greatest_before=greatest_end)
            )
        greatest_end = last if greatest_end is None else max(greatest_end, last)
    rows = read_columns(table, live_files(table, until) if after is None else new, declared.key)
    return WindowCheck(regressions, _doubled_keys(rows, declared.key), greatest_end)


def _ends(field_id: int, files: list[AddedFile]) -> dict[int, tuple[datetime, datetime]]:
    """Least and greatest end of a window by snapshot, in the order of the commits."""
    ends: dict[int, tuple[datetime, datetime]] = {}
    for file in files:
        first = _instant(file.data_file.lower_bounds[field_id])
        last = _instant(file.data_file.upper_bounds[field_id])
        known = ends.get(file.snapshot_id, (first, last))
        ends[file.snapshot_id] = (min(first, known[0]), max(last, known[1]))
    return ends


def _instant(bound: bytes) -> datetime:
    # single-value serialization of the Iceberg specification, appendix D: microseconds, little-endian
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int.from_bytes(bound, "little", signed=True))


def _doubled_keys(rows: list[pa.Table], key: tuple[str, ...]) -> int:
    if not rows:
        return 0
    copies = (
        pa.concat_tables(rows, promote_options="permissive").group_by(list(key)).aggregate([([], "count_all")])
    )
    return int(pc.sum(pc.greater(copies["count_all"], 1)).as_py() or 0)
