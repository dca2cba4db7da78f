"""The contract check of each gold table, on the days of the run."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from contracts import Table, families, gold_hourly
from lakehouse_assets.check_results import CHECK_NAME, check_result
from lakehouse_assets.describe import table_key
from lakehouse_assets.gold.partitions import DAILY

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.table import Table as IcebergTable


def gold_checks() -> list[dg.AssetChecksDefinition]:
    """One check for each gold table; it runs with the materialization and stops what comes after it."""
    return [_contract_check(gold_hourly(member)) for member in families()]


def _contract_check(declared: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=table_key(declared),
        name=CHECK_NAME,
        description="The rows of the run's days are as the contract says: keys, required columns, ranges",
        blocking=True,
        required_resource_keys={"catalog"},
    )
    def contract(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        from resources.quality import validate  # a code location loads without it

        start, end = _days(context)
        rows = _rows(context.resources.catalog.load_table(declared.identifier), declared, start, end)
        return check_result(validate(declared, rows), f"{start:%Y-%m-%d} to {end - timedelta(days=1):%Y-%m-%d}")

    return contract


def _days(context: dg.AssetCheckExecutionContext) -> tuple[datetime, datetime]:
    """Range of the run's partitions; of a check that runs by itself, the two newest."""
    tags = context.run.tags
    newest = DAILY.get_last_partition_key()
    first = tags.get("dagster/asset_partition_range_start") or tags.get("dagster/partition") or newest
    last = tags.get("dagster/asset_partition_range_end") or tags.get("dagster/partition") or newest
    return DAILY.time_window_for_partition_key(first).start, DAILY.time_window_for_partition_key(last).end


def _rows(table: "IcebergTable", declared: Table, start: datetime, end: datetime) -> "pa.Table":
    time = declared.event_time
    return table.scan(f"{time} >= '{start.isoformat()}' and {time} < '{end.isoformat()}'").to_arrow()
