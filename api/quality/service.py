"""From the rows of ``gold.quality_results`` to what each table's checks say now, and how it went."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pyarrow.fs import FileSystem
from pyiceberg.table import Table as IcebergTable

from api.quality.schemas import CheckOutcome, DayOutcome, QualitySummary, TableQuality
from contracts.quality import REPORT, Verdict, verdict

WORST_FIRST: tuple[Verdict, ...] = ("failed", "warned", "passed")


def read_quality(table: IcebergTable, *, days: int, shown: Callable[[str], bool] | None = None) -> QualitySummary:
    """Read the evaluations of the last ``days`` days of the tables that are ``shown``, or of all; blocks.

    Raises:
        OSError: the object store does not answer.
    """
    since = datetime.now(UTC) - timedelta(days=days)
    snapshot = table.current_snapshot()
    rows = table.scan(f"checked_at >= '{since.isoformat()}'").to_arrow().sort_by("checked_at").to_pylist()
    by_table: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if shown is None or shown(row["table_name"]):
            by_table[row["table_name"]].append(row)
    return QualitySummary(
        snapshot_id=None if snapshot is None else str(snapshot.snapshot_id),
        days=days,
        tables=[_table(name, by_table[name]) for name in sorted(by_table)],
    )


def read_report(store: FileSystem, location: str) -> bytes | None:
    """The report below ``location`` as it was last written, ``None`` if it never was; blocks.

    Raises:
        OSError: the object store does not answer.
    """
    try:
        with store.open_input_stream(f"{location.removeprefix('s3://')}/{REPORT}") as stream:
            content: bytes = stream.read()
    except FileNotFoundError:
        return None
    return content


def _table(name: str, oldest_first: Iterable[Mapping[str, Any]]) -> TableQuality:
    newest: dict[str, Mapping[str, Any]] = {}
    days: dict[str, dict[Verdict, int]] = {}
    for row in oldest_first:
        newest[row["check_name"]] = row
        counts = days.setdefault(row["checked_at"].date().isoformat(), dict.fromkeys(WORST_FIRST, 0))
        counts[verdict(passed=row["passed"], severity=row["severity"])] += 1
    checks = [_outcome(newest[check]) for check in sorted(newest)]
    return TableQuality(
        table=name,
        verdict=min((check.verdict for check in checks), key=WORST_FIRST.index),
        checks=checks,
        trend=[DayOutcome(day=day, **counts) for day, counts in days.items()],
    )


def _outcome(row: Mapping[str, Any]) -> CheckOutcome:
    return CheckOutcome(
        check=row["check_name"],
        verdict=verdict(passed=row["passed"], severity=row["severity"]),
        checked_at=row["checked_at"],
        row_count=row["row_count"],
        description=row["description"],
        failures=json.loads(row["failures"] or "[]"),
    )
