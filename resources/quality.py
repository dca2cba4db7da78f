"""Great Expectations: a suite from a table's contract and the file beside it, run on rows in memory."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

import contracts
from contracts import LakehouseError, Table
from contracts.rules import ROUNDING, NotBelow, OneOf, Rule

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.expectations.expectation import Expectation

SUITES = Path(contracts.__file__).with_name("suites")
"""Holds ``<namespace>.<table>.json`` where a table has expectations that no contract can declare."""
ROUNDED_UP = " (rounded up)"
MAX_FAILING_KEYS = 20
"""How many keys of failing rows a finding lists."""


class SuiteError(LakehouseError):
    """A file of expectations beside the contracts cannot be read."""


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
    """Expectations of a contract: required columns, unique key, rules (critical), valid ranges (warnings).

    Those that stand beside the contract come with them.

    Raises:
        SuiteError: they cannot be read.
    """
    from great_expectations import ExpectationSuite  # takes seconds to import
    from great_expectations import expectations as gxe

    names = {column.name for column in table.columns}
    return ExpectationSuite(
        name=table.identifier,
        expectations=[
            gxe.ExpectTableColumnsToMatchSet(column_set=sorted(names), exact_match=False, severity="critical"),
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
            *(
                expectation
                for rule in table.rules
                if names.issuperset(rule.columns)
                for expectation in _of_rule(rule)
            ),
            *hand_written(table),
        ],
    )


def hand_written(table: Table, folder: Path = SUITES) -> list[Mapping[str, Any]]:
    """Expectations of the table's file beside the contracts, as Great Expectations' own JSON has them.

    Raises:
        SuiteError: the file is no suite.
    """
    path = folder / f"{table.identifier}.json"
    if not path.exists():
        return []
    try:
        expectations: list[Mapping[str, Any]] = json.loads(path.read_text())["expectations"]
    except (ValueError, KeyError, TypeError) as error:
        raise SuiteError(
            f"{path} is no suite: it needs an object with the list `expectations` ({error})"
        ) from error
    return expectations


def _of_rule(rule: Rule) -> "Iterator[Expectation]":
    from great_expectations import expectations as gxe
    from great_expectations.expectations.row_conditions import Column

    severity = "warning" if rule.measured else "critical"
    if isinstance(rule, OneOf):
        yield gxe.ExpectColumnValuesToBeInSet(column=rule.column, value_set=list(rule.values), severity=severity)
        return
    if isinstance(rule, NotBelow):
        yield gxe.ExpectColumnPairValuesAToBeGreaterThanB(
            column_A=f"{rule.greater}{ROUNDED_UP}" if rule.rounding else rule.greater,
            column_B=rule.lesser,
            or_equal=not rule.strict,
            ignore_row_if="either_value_is_missing",
            severity=severity,
        )
        return
    yield gxe.ExpectColumnValuesToBeNull(
        column=rule.column, row_condition=Column(rule.count) == 0, severity=severity
    )
    if rule.present:
        yield gxe.ExpectColumnValuesToNotBeNull(
            column=rule.column, row_condition=Column(rule.count) > 0, severity=severity
        )


def reference_suite(table: Table, known: Mapping[str, Collection[str]]) -> "ExpectationSuite":
    """Expectations that each column of ``known`` has the values that it lists, or null (critical)."""
    from great_expectations import ExpectationSuite  # takes seconds to import
    from great_expectations import expectations as gxe

    return ExpectationSuite(
        name=f"{table.identifier} references",
        expectations=[
            gxe.ExpectColumnValuesToBeInSet(column=column, value_set=sorted(values), severity="critical")
            for column, values in known.items()
        ],
    )


def validate(table: Table, rows: pa.Table, suite: "ExpectationSuite | None" = None) -> QualityReport:
    """Run ``suite``, else that of the contract of ``table``, on ``rows``."""
    import great_expectations as gx  # takes seconds to import
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(enable=False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    batch = (
        context.data_sources.add_pandas("rows")
        .add_dataframe_asset(table.name)
        .add_batch_definition_whole_dataframe("all")
        .get_batch({"dataframe": _with_rounded_up(table, rows).to_pandas()})
    )
    outcome = batch.validate(
        suite or expectation_suite(table),
        result_format={
            # positions of failing rows: asked for columns, it makes a record of each row before it cuts the list
            "result_format": "SUMMARY",
            "partial_unexpected_count": MAX_FAILING_KEYS,
            "return_unexpected_index_query": False,
        },
    )
    findings = tuple(_finding(table, rows, result) for result in outcome.results)
    return QualityReport(rows=rows.num_rows, findings=findings)


def _with_rounded_up(table: Table, rows: pa.Table) -> pa.Table:
    """The rows, beside those columns that a rule compares up to rounding the same a little greater."""
    rounded = {rule.greater for rule in table.rules if isinstance(rule, NotBelow) and rule.rounding}
    for name in sorted(rounded & set(rows.column_names)):
        values = rows[name].cast(pa.float64())
        margin = pc.multiply(pc.max_element_wise(pc.abs(values), 1.0), ROUNDING)
        rows = rows.append_column(f"{name}{ROUNDED_UP}", pc.add(values, margin))
    return rows


def _finding(table: Table, rows: pa.Table, result: "ExpectationValidationResult") -> Finding:
    config = result.expectation_config
    columns = _columns(config.kwargs)
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
        failing_keys=tuple(_keys_at(table, rows, details.get("partial_unexpected_index_list") or [])),
    )


def _columns(arguments: Mapping[str, Any]) -> str:
    """Columns that an expectation is about, in words."""
    if "column_A" in arguments:
        return ", ".join(arguments[name].removesuffix(ROUNDED_UP) for name in ("column_A", "column_B"))
    column: str = arguments.get("column") or ", ".join(arguments.get("column_list", ()))
    condition = arguments.get("row_condition")
    if condition is None:
        return column
    if "column" not in condition:  # a combination of conditions
        return f"{column} where {condition}"
    other = condition["column"]["name"]
    if condition["type"] == "nullity":
        return f"{column} where {other} is {'null' if condition['is_null'] else 'present'}"
    return f"{column} where {other} {condition['operator']} {condition['parameter']}"


def _keys_at(table: Table, rows: pa.Table, positions: Sequence[int]) -> Iterator[Mapping[str, str]]:
    """Keys of the rows at ``positions``, as far as they have the columns."""
    names = [name for name in table.key if name in rows.column_names]
    for row in rows.select(names).take(pa.array(positions, pa.int64())).to_pylist():
        yield {name: str(value) for name, value in row.items()}
