"""The check that the events of a table reach to about now.

Dagster's freshness policy looks at the time of the newest materialization: a backfill of an old day, or a job that
commits old events, satisfies it. This looks at the events.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from contracts import Table, all_tables
from lakehouse_assets.describe import table_key

if TYPE_CHECKING:
    from resources.freshness import Reach

CHECK_NAME = "event_time_lag"


def freshness_checks() -> list[dg.AssetChecksDefinition]:
    """One check for each table."""
    return [_event_time_lag(declared) for declared in all_tables()]


def _event_time_lag(declared: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=table_key(declared),
        name=CHECK_NAME,
        description=(
            f"The newest event is not older than {declared.freshness.warn_after} (a warning) or "
            f"{declared.freshness.fail_after}"
        ),
        required_resource_keys={"catalog"},
    )
    def event_time_lag(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        from resources.freshness import reach  # a code location loads without it

        table = context.resources.catalog.load_table(declared.identifier)
        return lag_result(declared, reach(table, declared, datetime.now(UTC)))

    return event_time_lag


def lag_result(declared: Table, found: "Reach") -> dg.AssetCheckResult:
    """What Dagster shows of how far a table reaches; one without a row has nothing to be late with."""
    if found.reaches is None or found.lag is None:
        return dg.AssetCheckResult(passed=True, description=f"{declared.identifier} has no row yet")
    failed = found.lag > declared.freshness.fail_after
    return dg.AssetCheckResult(
        passed=found.lag <= declared.freshness.warn_after,
        severity=dg.AssetCheckSeverity.ERROR if failed else dg.AssetCheckSeverity.WARN,
        description=f"reaches to {found.reaches:%Y-%m-%d %H:%M:%S} UTC, {found.lag} ago",
        metadata={
            "reaches": dg.MetadataValue.timestamp(found.reaches),
            "lag_s": dg.MetadataValue.float(found.lag.total_seconds()),
        },
    )
