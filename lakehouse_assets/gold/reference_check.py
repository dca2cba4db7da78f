"""The check that a gold table names no sensor and no zone that the tables below it do not."""

from collections.abc import Mapping
from datetime import date

import dagster as dg

from contracts import Table, all_tables
from lakehouse_assets.check_results import check_result
from lakehouse_assets.describe import table_key
from lakehouse_assets.gold.partitions import RANGE_END

CHECK_NAME = "references"
PARTITION = "dagster/partition"


def reference_checks() -> list[dg.AssetChecksDefinition]:
    """One check for each table that carries columns from those that it is derived from."""
    return [_references(declared) for declared in all_tables() if declared.carried]


def _references(declared: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=table_key(declared),
        name=CHECK_NAME,
        description=(
            f"Each {' and '.join(declared.carried)} of a day stands on the same day in "
            f"{', '.join(declared.derived_from)}; of the last day of the run, else of the newest"
        ),
        required_resource_keys={"catalog"},
    )
    def references(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        from lakehouse_assets.gold.references import newest_day, validate_references  # imports Arrow

        catalog = context.resources.catalog
        day = last_day(context.run.tags) or newest_day(catalog, declared)
        if day is None:
            return dg.AssetCheckResult(passed=True, description=f"{declared.identifier} has no row yet")
        return check_result(validate_references(catalog, declared, day), f"{day}", CHECK_NAME)

    return references


def last_day(tags: Mapping[str, str]) -> date | None:
    """The last day that a run with these tags is for, ``None`` if it is for none."""
    key = tags.get(RANGE_END) or tags.get(PARTITION)
    return None if key is None else date.fromisoformat(key)
