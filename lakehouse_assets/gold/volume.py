"""The check that a day of a gold table has about as many rows as the days around it."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from statistics import median

import dagster as dg
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot

from lakehouse_assets.check_results import VOLUME_CHECK
from lakehouse_assets.gold.late_arrivals import day_of
from resources.offsets import live_files

AROUND = tuple(timedelta(days=offset) for offset in (-3, -2, -1, 1, 2, 3))
"""Where the days lie that a day is held against."""
FEWEST_NEIGHBOURS = 2
"""Days with rows that it takes to judge another."""
LEAST, MOST = 0.5, 2.0
"""Share of the median of its neighbours that a day may have."""


def volume_result(table: IcebergTable, snapshot: Snapshot, first: date, last: date) -> dg.AssetCheckResult:
    """Judge the closed days ``first`` to ``last`` of ``snapshot``, from metadata alone."""
    rows: Counter[date] = Counter()
    for file in live_files(table, snapshot):
        rows[day_of(file)] += file.records
    days = [first + timedelta(days=offset) for offset in range((last - first).days + 1)]
    odd = odd_days(rows, days, datetime.now(UTC).date())
    described = [f"{day} has {rows[day]:,} rows, its neighbours {usual:,.0f}" for day, usual in odd.items()]
    return dg.AssetCheckResult(
        check_name=VOLUME_CHECK,
        passed=not odd,
        severity=dg.AssetCheckSeverity.WARN,
        description=", ".join(described) or "every closed day has about as many rows as the days around it",
        metadata={"rows_by_day": {str(day): rows[day] for day in days}},
    )


def odd_days(rows: Mapping[date, int], days: list[date], today: date) -> dict[date, float]:
    """The median of the neighbours of each of ``days`` whose rows are far from it.

    Neighbours without rows do not count: nobody has computed them. The running day is not judged and judges none.
    """
    odd = {}
    for day in (day for day in days if day < today):
        around = (day + offset for offset in AROUND)
        counts = [rows[other] for other in around if other < today and rows.get(other)]
        if len(counts) < FEWEST_NEIGHBOURS:
            continue
        usual = median(counts)
        if not LEAST * usual <= rows.get(day, 0) <= MOST * usual:
            odd[day] = float(usual)
    return odd
