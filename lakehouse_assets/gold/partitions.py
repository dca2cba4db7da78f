"""Partitions of the gold tables: days in UTC."""

from collections.abc import Iterable, Iterator
from datetime import date, timedelta

import dagster as dg

FIRST_DAY = "2000-01-01"
"""Oldest day that can be recomputed. The same everywhere: partitions are part of what an asset is."""

DAILY = dg.DailyPartitionsDefinition(start_date=FIRST_DAY, timezone="UTC", end_offset=1)
"""One partition a day, up to and including the running one."""

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
"""Tags with which Dagster runs a range of partitions as one run."""

MAX_DAYS_PER_RUN = 31
"""As ``./lakehouse backfill`` has it: what one Spark session computes before readers see any of it."""


def range_tags(first: date, last: date) -> dict[str, str]:
    """Tags of a run of the days ``first`` to ``last``."""
    return {RANGE_START: first.isoformat(), RANGE_END: last.isoformat()}


def day_ranges(days: Iterable[date], longest: int = MAX_DAYS_PER_RUN) -> Iterator[tuple[date, date]]:
    """First and last of each range of ``days`` that follow each other, cut where it is longer than ``longest``."""
    first = last = None
    for day in sorted(days):
        if first is not None and last is not None:
            if day == last + timedelta(days=1) and (day - first).days < longest:
                last = day
                continue
            yield first, last
        first = last = day
    if first is not None and last is not None:
        yield first, last
