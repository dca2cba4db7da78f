"""Partitions of the gold tables: days in UTC."""

import dagster as dg

FIRST_DAY = "2000-01-01"
"""Oldest day that can be recomputed. The same everywhere: partitions are part of what an asset is."""

DAILY = dg.DailyPartitionsDefinition(start_date=FIRST_DAY, timezone="UTC", end_offset=1)
"""One partition a day, up to and including the running one."""
