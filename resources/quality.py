"""Great Expectations: a suite from a table's contract, run on rows in memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from contracts import Table

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite
    from great_expectations.core import ExpectationValidationResult

MAX_FAILING_KEYS = 20
"""How many keys of failing rows a finding lists."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Outcome of one expectation; ``critical`` is false where a failure points at a sensor, not at us."""

    expectation: str
    columns: str
    passed: bool
    critical: bool
    observed: str
    unexpected_count: int
    failing_keys: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class QualityReport:
    """Outcome of a suite on ``rows`` rows."""

    rows: int
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether all expectations were met."""
        return all(finding.passed for finding in self.findings)

    @property
    def critical(self) -> bool:
        """Whether a critical expectation was not met."""
        return any(finding.critical and not finding.passed for finding in self.findings)


def expectation_suite(table: Table) -> "ExpectationSuite":
    """Expectations of a contract: required columns, unique key (critical), valid ranges (warnings)."""
    from great_expectations import ExpectationSuite  # takes seconds to import
    from great_expectations import expectations as gxe

    return ExpectationSuite(
        name=table.identifier,
        expectations=[
            gxe.ExpectTableColumnsToMatchSet(
                column_set=[column.name for column in table.columns], exact_match=False, severity="critical"
            ),
            gxe.ExpectCompoundColumnsToBeUnique(column_list=list(table.key), severity="critical"),
            *(
                gxe.ExpectColumnValuesToNotBeNull(column=column.name, severity="critical")
                for column in table.columns
                if not column.nullable
            ),
            *(
                gxe.ExpectColumnValuesToBeBetween(
                    column=column.name,
                    min_value=column.minimum,
                    max_value=column.maximum,
                    severity="warning",
                )
                for column in table.columns
                if column.minimum is not None or column.maximum is not None
            ),
        ],
    )


def validate(table: Table, rows: pa.Table) -> QualityReport:
    """Run the suite of ``table`` on ``rows``."""
    import great_expectations as gx  # takes seconds to import
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(enable=False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    batch = (
        context.data_sources.add_pandas("rows")
        .add_dataframe_asset(table.name)
        .add_batch_definition_whole_dataframe("all")
        .get_batch({"dataframe": rows.to_pandas()})
    )
    outcome = batch.validate(
        expectation_suite(table),
        result_format={
            "result_format": "SUMMARY",
            "unexpected_index_column_names": list(table.key),
            "partial_unexpected_count": MAX_FAILING_KEYS,
        },
    )
    return QualityReport(rows=rows.num_rows, findings=tuple(_finding(table, result) for result in outcome.results))


def _finding(table: Table, result: "ExpectationValidationResult") -> Finding:
    config = result.expectation_config
    columns = config.kwargs.get("column") or ", ".join(config.kwargs.get("column_list", ()))
    details = result.result
    observed = details.get("observed_value")
    if observed is None:
        observed = f"{details.get('unexpected_percent') or 0:.3g} % unexpected"
    return Finding(
        expectation=config.type,
        columns=columns,
        passed=bool(result.success),
        critical=config.severity == "critical",
        observed=str(observed),
        unexpected_count=int(details.get("unexpected_count") or 0),
        failing_keys=tuple({name: str(row[name]) for name in table.key} for row in _failing_rows(details)),
    )


def _failing_rows(details: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Rows by key: an expectation on the key itself lists its values, the others an index of the rows."""
    values = details.get("partial_unexpected_list") or []
    if values and isinstance(values[0], Mapping):
        return values
    return details.get("partial_unexpected_index_list") or []
