"""The check that the windows of each family are what a batch recomputation makes of the same hours of bronze."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from contracts import Family, Table, families, silver_1m, silver_5m
from lakehouse_assets.check_results import EXPECTATIONS, ROWS, expectations
from lakehouse_assets.describe import table_key

if TYPE_CHECKING:
    from lakehouse_assets.streaming.reconcile import Reconciled
    from resources.window_recomputation import WindowDifference

CHECK_NAME = "reconciliation"
EXPECTATION = "expect_windows_to_equal_their_recomputation"


def reconciliation_checks() -> list[dg.AssetChecksDefinition]:
    """One check for each table of windows that Flink writes."""
    return [_reconciliation(member, of(member)) for member in families() for of in (silver_1m, silver_5m)]


def _reconciliation(member: Family, declared: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=table_key(declared),
        name=CHECK_NAME,
        description="The windows of the last hours equal their recomputation from bronze, to the last event",
        required_resource_keys={"catalog"},
    )
    def reconciliation(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        from lakehouse_assets.streaming.reconcile import reconcile  # a code location loads without it

        return reconciliation_result(declared, reconcile(context.resources.catalog, member, declared, utc_now()))

    return reconciliation


def utc_now() -> datetime:
    """The time of the check."""
    return datetime.now(UTC)


def reconciliation_result(declared: Table, found: "Reconciled | None") -> dg.AssetCheckResult:
    """What Dagster shows of a comparison; a window that differs is an error, since a job made it."""
    if found is None:
        return dg.AssetCheckResult(passed=True, description=f"no window of {declared.identifier} is closed yet")
    from resources.quality import MAX_FAILING_KEYS, Finding  # imports Arrow

    differing = len(found.differences)
    finding = Finding(
        expectation=EXPECTATION,
        columns=", ".join(sorted({name for entry in found.differences for name in entry.columns})),
        passed=not differing,
        critical=True,
        observed=f"{differing:,} windows differ",
        unexpected_count=differing,
        failing_keys=tuple(
            dict(_key(declared, entry)) for entry in found.differences[:MAX_FAILING_KEYS]
        ),
    )  # fmt: skip
    span = f"{found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M} UTC"
    return dg.AssetCheckResult(
        passed=not differing,
        severity=dg.AssetCheckSeverity.ERROR,
        description=(
            f"{differing:,} of {found.windows:,} windows from {span} differ, first: {found.differences[0]}"
            if differing
            else f"{found.windows:,} windows from {span} equal their recomputation"
        ),
        metadata={
            ROWS: found.windows,
            "events": found.events,
            "hours": (found.until - found.since) / timedelta(hours=1),
            "since": dg.MetadataValue.timestamp(found.since),
            "until": dg.MetadataValue.timestamp(found.until),
            EXPECTATIONS: expectations([finding]),
        },
    )


def _key(declared: Table, entry: "WindowDifference") -> Iterator[tuple[str, str | Mapping[str, str]]]:
    """Key of a window, and of each column that differs the value in the table and the recomputed one."""
    yield declared.key[0], str(entry.subject)
    yield declared.event_time, f"{entry.window_start:%Y-%m-%d %H:%M:%S}"
    if not entry.columns:
        yield "window", entry.how
    for name, (stored, recomputed) in entry.columns.items():
        yield name, {"stored": str(stored), "recomputed": str(recomputed)}
