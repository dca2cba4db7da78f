"""From a quality report to what Dagster shows of a check."""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from resources.quality import Finding, QualityReport

CHECK_NAME = "contract"
"""Name of the check of each table: the rows are as its contract says."""
ROWS = "rows"
EXPECTATIONS = "expectations"
"""Metadata of a check: how many rows it looked at, and one record for each expectation."""
VOLUME_CHECK = "volume"
"""Name of the check of a batch table: a day has about as many rows as those around it."""


def check_result(
    report: "QualityReport", rows_checked: str, name: str = CHECK_NAME, asset_key: dg.AssetKey | None = None
) -> dg.AssetCheckResult:
    """Result with one line for each expectation; ``rows_checked`` says which rows the report is about.

    ``asset_key`` names the table where a step checks several.

    A value outside its valid range is a warning: a sensor measured it. A null in a required column or a key
    that stands twice is an error: the pipeline made it.
    """
    failed = [finding for finding in report.findings if not finding.passed]
    return dg.AssetCheckResult(
        asset_key=asset_key,
        check_name=name,
        passed=report.passed,
        severity=dg.AssetCheckSeverity.ERROR if report.critical else dg.AssetCheckSeverity.WARN,
        description=f"{len(failed)} of {len(report.findings)} expectations failed on {report.rows} rows",
        metadata={
            ROWS: report.rows,
            "rows_checked": rows_checked,
            EXPECTATIONS: expectations(report.findings),
        },
    )


def expectations(findings: Iterable["Finding"]) -> dg.TableMetadataValue:
    """One record for each finding; ``gold.quality_results`` keeps those that failed."""
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord(
                {
                    "expectation": finding.expectation,
                    "columns": finding.columns,
                    "passed": finding.passed,
                    "severity": "error" if finding.critical else "warning",
                    "observed": finding.observed,
                    "unexpected": finding.unexpected_count,
                    "failing_keys": json.dumps(finding.failing_keys),
                }
            )
            for finding in findings
        ],
        schema=REPORT_SCHEMA,
    )


REPORT_SCHEMA = dg.TableSchema(
    columns=[
        dg.TableColumn("expectation"),
        dg.TableColumn("columns"),
        dg.TableColumn("passed", "bool"),
        dg.TableColumn("severity"),
        dg.TableColumn("observed"),
        dg.TableColumn("unexpected", "int", description="Number of rows that failed"),
        dg.TableColumn("failing_keys", description="Keys of up to 20 rows that failed, as JSON"),
    ]
)
