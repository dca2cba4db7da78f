"""The contract check of each table that Flink writes, on the rows that came lately."""

from datetime import timedelta

import dagster as dg

from contracts import Table
from lakehouse_assets.check_results import CHECK_NAME, check_result
from lakehouse_assets.describe import table_key
from lakehouse_assets.streaming.assets import streaming_tables

CHECKED_SPAN = timedelta(hours=1)
"""Age of the rows that a check still looks at: twice the interval of its schedule, so that none is missed."""
MAX_ROWS = 200_000


def streaming_checks() -> list[dg.AssetChecksDefinition]:
    """One check for each table that Flink writes."""
    return [_contract_check(declared) for declared in streaming_tables()]


def _contract_check(declared: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=table_key(declared),
        name=CHECK_NAME,
        description="The rows that came lately are as the contract says: keys, required columns, ranges",
        required_resource_keys={"catalog"},
    )
    def contract(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        from resources.quality import validate  # a code location loads without it
        from resources.snapshots import rows_added_lately

        table = context.resources.catalog.load_table(declared.identifier)
        rows = rows_added_lately(table, within=CHECKED_SPAN, limit=MAX_ROWS)
        span = f"added within {CHECKED_SPAN} before the newest snapshot, at most {MAX_ROWS}, newest first"
        return check_result(validate(declared, rows), span)

    return contract
