"""The contract checks of the tables that services write, on the rows that came since each table's last check.

The last evaluation of a check says up to which commit it came, and the next goes on from there: Dagster's event
log is the only memory. Runs that check the same tables wait for each other (a pool), so that no row is checked
twice.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from contracts import Layer, Table
from lakehouse_assets.check_history import evaluations_of
from lakehouse_assets.check_results import CHECK_NAME, ROWS, check_result
from lakehouse_assets.describe import table_key
from lakehouse_assets.streaming.assets import streaming_tables
from lakehouse_assets.streaming.positions import position_in, position_metadata, sequence_number_of

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table as IcebergTable

    from resources.increment import Increment

MAX_ROWS = 200_000
"""That one evaluation looks at. In silver the rest waits for the next; in bronze, where there are too many, only
the newest are looked at."""


def streaming_checks() -> list[dg.AssetChecksDefinition]:
    """One step for each layer that services write, with a check for each of its tables."""
    layers = dict.fromkeys(declared.layer for declared in streaming_tables())
    return [_contracts_of(layer) for layer in layers]


def silver_tables() -> list[Table]:
    """The tables that are checked snapshot by snapshot."""
    return [declared for declared in streaming_tables() if declared.layer is Layer.SILVER]


def contract_check(declared: Table) -> dg.AssetCheckKey:
    """Key of the contract check of a table."""
    return dg.AssetCheckKey(table_key(declared), CHECK_NAME)


def checked_up_to(instance: dg.DagsterInstance, declared: Table, table: "IcebergTable") -> int:
    """Sequence number of the last commit that the contract check has looked at; 0 if it has at none."""
    return _position(_last_of(instance, declared), table)


def _contracts_of(layer: Layer) -> dg.AssetChecksDefinition:
    tables = {contract_check(each): each for each in streaming_tables() if each.layer is layer}

    @dg.multi_asset_check(
        name=f"{layer}_contracts",
        specs=[
            dg.AssetCheckSpec(
                CHECK_NAME,
                asset=table_key(declared),
                description="The rows that came since are as the contract says: keys, required columns, ranges",
            )
            for declared in tables.values()
        ],
        can_subset=True,
        required_resource_keys={"catalog"},
        pool=f"{layer}_contracts",
    )
    def contracts(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        failed: dict[str, Exception] = {}
        for key, declared in tables.items():
            if key not in context.selected_asset_check_keys:
                continue
            try:
                result = _checked(context.instance, context.resources.catalog, declared)
            except Exception as error:  # noqa: BLE001  raised below: the other tables are checked all the same
                failed[declared.identifier] = error
            else:
                yield result
        if failed:
            said = "; ".join(f"{name}: {type(error).__name__}: {error}" for name, error in failed.items())
            raise dg.Failure(f"could not be checked: {said}") from next(iter(failed.values()))

    return contracts


def _checked(instance: dg.DagsterInstance, catalog: "Catalog", declared: Table) -> dg.AssetCheckResult:
    from resources.increment import increment  # a code location loads without it
    from resources.quality import validate

    table = catalog.load_table(declared.identifier)
    last = _last_of(instance, declared)
    found = increment(
        table, after=_position(last, table), limit=MAX_ROWS, newest=declared.layer is not Layer.SILVER
    )
    figures = _figures(str(table.metadata.table_uuid), found)
    if last is not None and not found.snapshots:
        return dg.AssetCheckResult(
            asset_key=table_key(declared),
            check_name=CHECK_NAME,
            passed=last.passed,
            severity=last.severity,
            description="; ".join(["no rows came since the check before, whose verdict stands", *_left(found)]),
            metadata={ROWS: 0, **figures},
        )
    result = check_result(validate(declared, found.rows), _span(found), asset_key=table_key(declared))
    said = "; ".join([result.description or "", *_left(found)])
    return result._replace(description=said, metadata={**result.metadata, **figures})


def _last_of(instance: dg.DagsterInstance, declared: Table) -> dg.AssetCheckEvaluation | None:
    """The newest evaluation that says how far it came; one that was reported by hand does not."""
    evaluations = evaluations_of(instance, contract_check(declared))
    return next((each for each in evaluations if position_in(each.metadata) is not None), None)


def _position(last: dg.AssetCheckEvaluation | None, table: "IcebergTable") -> int:
    return 0 if last is None else sequence_number_of(str(table.metadata.table_uuid), position_in(last.metadata))


def _figures(table_uuid: str, found: "Increment") -> dict[str, dg.MetadataValue]:
    figures = {
        **position_metadata(table_uuid, found.reached),
        "snapshots": dg.MetadataValue.int(len(found.snapshots)),
    }
    if found.snapshots:
        # as text: the browser rounds integers above 2^53
        figures["first_snapshot"] = dg.MetadataValue.text(str(found.snapshots[0].snapshot_id))
        figures["last_snapshot"] = dg.MetadataValue.text(str(found.snapshots[-1].snapshot_id))
    left = {"rows_waiting": found.waiting, "rows_left_out": found.left_out, "commits_expired": found.expired}
    return figures | {name: dg.MetadataValue.int(count) for name, count in left.items() if count}


def _span(found: "Increment") -> str:
    return f"appended by {len(found.snapshots)} snapshots since the check before"


def _left(found: "Increment") -> Iterator[str]:
    """What was not looked at, in words."""
    if found.waiting:
        yield f"{found.waiting:,} more rows wait for the next check, which looks at {MAX_ROWS:,} at a time"
    if found.left_out:
        yield f"{found.left_out:,} rows beyond {MAX_ROWS:,} were not looked at"
    if found.expired:
        yield f"{found.expired:,} commits had expired before they were looked at"
