"""Great Expectations suites from contracts, run on rows with known faults."""

from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from iceberg_on_disk import START, arrow_rows, plausible_row
from pyiceberg.catalog import Catalog

from contracts import Table, all_tables, table
from lakehouse_assets.check_results import CHECK_NAME, check_result
from lakehouse_assets.definitions import defs
from lakehouse_assets.describe import table_key
from lakehouse_assets.gold.publish import audit_and_publish, begin_branch
from resources.branches import BranchError, publish
from resources.quality import MAX_FAILING_KEYS, Finding, QualityReport, validate

GOLD = table("gold.traffic_hourly")
ROWS = 40


def as_arrow(rows: list[dict[str, Any]]) -> pa.Table:
    """Without a schema, so that a required column may hold a null."""
    return pa.Table.from_pylist(rows)


def finding(report: QualityReport, expectation: str, columns: str) -> Finding:
    [found] = [f for f in report.findings if (f.expectation, f.columns) == (expectation, columns)]
    return found


@pytest.mark.parametrize("declared", all_tables(), ids=lambda declared: declared.identifier)
def test_rows_that_meet_the_contract_pass(declared: Table) -> None:
    report = validate(declared, as_arrow([plausible_row(declared, number) for number in range(ROWS)]))
    assert [f for f in report.findings if not f.passed] == []
    assert report.rows == ROWS
    required = {column.name for column in declared.columns if not column.nullable}
    assert {
        f.columns for f in report.findings if f.expectation.endswith("not_be_null") and " where " not in f.columns
    } == required


def test_no_rows_break_no_expectation(disk_catalog: Catalog) -> None:
    assert validate(GOLD, arrow_rows(disk_catalog, GOLD, [])).passed


@settings(max_examples=8, deadline=None)
@given(
    nulls=st.sets(st.integers(0, ROWS - 1)),
    too_high=st.sets(st.integers(0, ROWS - 1)),
    copied=st.sets(st.integers(0, ROWS - 1)),
)
def test_each_fault_is_counted(nulls: set[int], too_high: set[int], copied: set[int]) -> None:
    rows = [plausible_row(GOLD, number) for number in range(ROWS)]
    for number in nulls:
        rows[number]["window_end"] = None
    for number in too_high:
        rows[number]["occupancy_ratio_max"] = 1.001
    # a copy carries the faults of its row too
    rows += [rows[number] for number in sorted(copied)]
    report = validate(GOLD, as_arrow(rows))

    null_count = sum(row["window_end"] is None for row in rows)
    high_count = sum(row["occupancy_ratio_max"] > 1 for row in rows)
    null_finding = finding(report, "expect_column_values_to_not_be_null", "window_end")
    high_finding = finding(report, "expect_column_values_to_be_between", "occupancy_ratio_max")
    copy_finding = finding(report, "expect_compound_columns_to_be_unique", "sensor_id, window_start")
    assert null_finding.unexpected_count == null_count
    assert high_finding.unexpected_count == high_count
    assert copy_finding.unexpected_count == 2 * len(copied)
    assert len(high_finding.failing_keys) == min(high_count, MAX_FAILING_KEYS)
    assert {key["sensor_id"] for key in high_finding.failing_keys} <= {f"s{number}" for number in too_high}
    assert {key["sensor_id"] for key in copy_finding.failing_keys} <= {f"s{number}" for number in copied}
    assert report.passed == (not (nulls or too_high or copied))
    assert report.critical == bool(nulls or copied)
    expected = dg.AssetCheckSeverity.ERROR if nulls or copied else dg.AssetCheckSeverity.WARN
    assert check_result(report, "these").severity == expected


def test_a_missing_column_is_an_error() -> None:
    rows = [plausible_row(GOLD, 1)]
    del rows[0]["zone"]
    report = validate(GOLD, as_arrow(rows))
    assert report.critical
    assert not finding(report, "expect_table_columns_to_match_set", "").passed


def test_the_check_of_a_streaming_table_looks_at_what_was_appended(disk_catalog: Catalog) -> None:
    declared = table("silver.weather_1m")
    rows = [plausible_row(declared, number) for number in range(ROWS)]
    rows[7]["humidity_pct_max"] = 130.0
    disk_catalog.load_table(declared.identifier).append(arrow_rows(disk_catalog, declared, rows))
    outcome = run_contract_check(disk_catalog, declared)
    assert not outcome.passed
    assert outcome.severity == dg.AssetCheckSeverity.WARN
    assert outcome.metadata["rows"].value == ROWS
    expectations = outcome.metadata["expectations"]
    assert isinstance(expectations, dg.TableMetadataValue)
    failed = [record.data for record in expectations.records if not record.data["passed"]]
    assert [(record["columns"], record["unexpected"]) for record in failed] == [("humidity_pct_max", 1)]
    assert '"sensor_id": "s7"' in failed[0]["failing_keys"]


def on_a_branch(catalog: Catalog, *numbers: int) -> str:
    branch = begin_branch(catalog, GOLD, "0123-4567")
    rows = [plausible_row(GOLD, number) for number in numbers]
    catalog.load_table(GOLD.identifier).append(arrow_rows(catalog, GOLD, rows), branch=branch)
    return branch


def published(catalog: Catalog) -> int:
    return catalog.load_table(GOLD.identifier).scan().to_arrow().num_rows


def audit(catalog: Catalog, branch: str, first: datetime, last: datetime) -> list[dg.AssetCheckResult]:
    return list(audit_and_publish(catalog, GOLD, branch, first, last))


DAY = timedelta(days=1)


def test_the_days_of_the_run_are_checked_and_published(disk_catalog: Catalog) -> None:
    branch = on_a_branch(disk_catalog, *range(ROWS))
    assert published(disk_catalog) == 0
    [found] = audit(disk_catalog, branch, START, START + DAY)
    assert found.passed
    assert found.metadata["rows"].value == ROWS
    assert published(disk_catalog) == ROWS
    assert set(disk_catalog.load_table(GOLD.identifier).metadata.refs) == {"main"}

    branch = on_a_branch(disk_catalog, ROWS)
    [found] = audit(disk_catalog, branch, START + DAY, START + 2 * DAY)
    assert found.metadata["rows"].value == 0
    assert published(disk_catalog) == ROWS + 1


def test_a_broken_key_is_not_published(disk_catalog: Catalog) -> None:
    branch = on_a_branch(disk_catalog, 3, 3)
    results = audit_and_publish(disk_catalog, GOLD, branch, START, START + DAY)
    assert not next(results).passed
    with pytest.raises(dg.Failure, match=f"publish gold.traffic_hourly --branch {branch}"):
        next(results)
    assert published(disk_catalog) == 0
    # the run starts again from what readers see
    assert on_a_branch(disk_catalog, 4) == branch
    [found] = audit(disk_catalog, branch, START, START + DAY)
    assert found.passed
    assert published(disk_catalog) == 1


def test_a_branch_is_not_published_over_what_came_meanwhile(disk_catalog: Catalog) -> None:
    branch = on_a_branch(disk_catalog, 1)
    table = disk_catalog.load_table(GOLD.identifier)
    table.append(arrow_rows(disk_catalog, GOLD, [plausible_row(GOLD, 2)]))
    with pytest.raises(BranchError, match="was changed since branch"):
        audit(disk_catalog, branch, START, START + DAY)
    assert published(disk_catalog) == 1
    with pytest.raises(BranchError, match=f"it has {branch}"):
        publish(table, "another")
    with pytest.raises(BranchError, match="has no branch"):
        publish(table, "main")


def run_contract_check(catalog: Catalog, declared: Table) -> dg.AssetCheckEvaluation:
    key = dg.AssetCheckKey(table_key(declared), CHECK_NAME)
    job = dg.Definitions(
        assets=defs.assets,
        asset_checks=defs.asset_checks,
        jobs=[dg.define_asset_job("only", dg.AssetSelection.checks(key))],
        resources={"catalog": catalog, "settings": None, "spark": None},
    ).resolve_job_def("only")
    with dg.DagsterInstance.ephemeral() as instance:
        [evaluation] = job.execute_in_process(instance=instance).get_asset_check_evaluations()
        return evaluation
