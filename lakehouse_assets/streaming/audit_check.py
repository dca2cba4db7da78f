"""The exactly-once check of each bronze table: the audit of what came since it last passed."""

from typing import TYPE_CHECKING

import dagster as dg

from contracts import Family, bronze_events, families
from lakehouse_assets.describe import table_key

if TYPE_CHECKING:
    from audit.report import TableAudit

CHECK_NAME = "exactly_once"


def audit_checks() -> list[dg.AssetChecksDefinition]:
    """One check for each bronze table."""
    return [_exactly_once(member) for member in families()]


def _exactly_once(member: Family) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=table_key(bronze_events(member)),
        name=CHECK_NAME,
        description="Every record of the topic is in the table or among the dead letters, once, by its offset",
        required_resource_keys={"settings"},
        blocking=False,
    )
    def exactly_once(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        from audit.run import audit  # a code location loads without it

        [found] = audit(context.resources.settings, [member], full=False).tables
        return _result(found)

    return exactly_once


def _result(found: "TableAudit") -> dg.AssetCheckResult:
    violations = found.violations()
    return dg.AssetCheckResult(
        passed=found.ok,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join(violations) or f"{found.rows:,} rows, each once, up to snapshot {found.snapshot_id}",
        metadata={
            "rows": found.rows,
            "checked_rows": found.checked_rows,
            "dead_letters": found.dead_letters,
            "control_records": found.control_records,
            "missing": found.missing,
            "doubled": found.doubled,
            "unverifiable": found.unverifiable,
            "duplicate_checkpoints": len(found.duplicate_checkpoints),
            "doubled_windows": found.doubled_windows,
            "watermark_regressions": len(found.watermark_regressions),
            "partitions_behind": len(found.behind),
            "snapshot_id": found.snapshot_id or "",
            "full": found.full,
            "seconds": found.seconds,
            "waited_seconds": found.waited_seconds,
        },
    )
