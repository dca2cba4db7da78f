"""Filters of the query string, typed by the contract: ``column=value`` and ``column__operator=value``."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field, FiniteFloat, TypeAdapter
from pyiceberg.expressions import (
    And,
    BooleanExpression,
    EqualTo,
    GreaterThan,
    GreaterThanOrEqual,
    In,
    IsNull,
    LessThan,
    LessThanOrEqual,
    NotEqualTo,
    NotNull,
    Or,
    StartsWith,
)

from contracts import Column, ColumnType, Table

Value = str | bool | int | float | datetime


class Operator(StrEnum):
    """What a filter compares with; all but ``is_null`` leave out rows without a value, as SQL does."""

    EQ = "eq"
    NE = "ne"
    LT = "lt"
    LE = "le"
    GT = "gt"
    GE = "ge"
    IN = "in"
    BETWEEN = "between"
    LIKE = "like"
    """Of text alone."""
    IS_NULL = "is_null"


# PyIceberg's constructors are called by position, which its pydantic models do not declare
_Predicate = Callable[..., BooleanExpression]
_COMPARISONS: dict[Operator, _Predicate] = {
    Operator.EQ: EqualTo,
    Operator.NE: NotEqualTo,
    Operator.LT: LessThan,
    Operator.LE: LessThanOrEqual,
    Operator.GT: GreaterThan,
    Operator.GE: GreaterThanOrEqual,
}
_IN: _Predicate = In
_STARTS_WITH: _Predicate = StartsWith
_NULL: dict[bool, _Predicate] = {True: IsNull, False: NotNull}

_ESCAPED = re.compile(r"\\([%_\\])")
_LIKE = re.compile(rf"((?:[^%_\\]|{_ESCAPED.pattern})*)(?P<any>%*)", re.DOTALL)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def parse_instant(text: str) -> datetime:
    """Read an RFC 3339 instant of up to microseconds.

    Raises:
        ValueError: it is not one, or it lies outside the years 1 to 9999 in UTC.
    """
    if not _RFC3339.fullmatch(text):
        raise ValueError(text)
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError as error:
        raise ValueError(text) from error


def _parse_boolean(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError(text)
    return text == "true"


_PARSERS: dict[ColumnType, tuple[Callable[[str], Value], str]] = {
    ColumnType.STRING: (str, "text"),
    ColumnType.BOOLEAN: (_parse_boolean, "true or false"),
    ColumnType.INT: (
        TypeAdapter(Annotated[int, Field(ge=-(2**31), lt=2**31)]).validate_python,
        "a whole number of 32 bits",
    ),
    ColumnType.LONG: (
        TypeAdapter(Annotated[int, Field(ge=-(2**63), lt=2**63)]).validate_python,
        "a whole number of 64 bits",
    ),
    ColumnType.DOUBLE: (TypeAdapter(FiniteFloat).validate_python, "a number"),
    ColumnType.TIMESTAMP: (
        parse_instant,
        "an instant like 2026-03-01T08:00:00Z (in an address, write + as %2B)",
    ),
}


def parse_value(type_: ColumnType, text: str) -> Value:
    """Read a value of ``type_``.

    Raises:
        ValueError: ``text`` is not one; the message says what is.
    """
    parse, expected = _PARSERS[type_]
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{text[:80]!r} is not {expected}") from error


def filter_parameters(table: Table) -> dict[str, tuple[Column, Operator]]:
    """Return each query parameter that filters ``table``, with what it means."""
    parameters: dict[str, tuple[Column, Operator]] = {}
    for column in table.columns:
        parameters[column.name] = (column, Operator.EQ)
        parameters |= {f"{column.name}__{operator}": (column, operator) for operator in operators_of(column)}
    return parameters


def operators_of(column: Column) -> list[Operator]:
    """What a filter on ``column`` may compare with."""
    return [each for each in Operator if each is not Operator.LIKE or column.type is ColumnType.STRING]


def parse_filter(column: Column, operator: Operator, text: str) -> BooleanExpression:
    """Build the scan filter for one parameter.

    Raises:
        ValueError: ``text`` does not fit the column; the message says what would.
    """
    if operator is Operator.IS_NULL:
        return _NULL[bool(parse_value(ColumnType.BOOLEAN, text))](column.name)
    if operator is Operator.IN:
        return _is_one_of(column.name, [parse_value(column.type, item) for item in text.split(",")])
    if operator is Operator.BETWEEN:
        return _between(column, text)
    if operator is Operator.LIKE:
        return _like(column.name, text)
    return compare(column.name, operator, parse_value(column.type, text))


def compare(name: str, operator: Operator, value: Value) -> BooleanExpression:
    """Build the scan filter that compares a column with one value."""
    return _COMPARISONS[operator](name, value)


def _between(column: Column, text: str) -> BooleanExpression:
    """Both ends are inclusive, and nothing lies between a value and a smaller one, as in SQL."""
    ends = [parse_value(column.type, item) for item in text.split(",")]
    if len(ends) != 2:
        raise ValueError(f"{text[:80]!r} is not two values with a comma between them")
    lowest, highest = ends
    return And(compare(column.name, Operator.GE, lowest), compare(column.name, Operator.LE, highest))


def _like(name: str, pattern: str) -> BooleanExpression:
    r"""SQL's LIKE, ``\`` being its escape, as far as Iceberg can filter by it: how a text begins, and no more."""
    match = _LIKE.fullmatch(pattern)
    if match is None:
        raise ValueError(
            f"{pattern[:80]!r} is not the beginning of a text and then %: no other pattern is possible. The "
            r"characters % _ \ themselves are written \% \_ \\"
        )
    beginning = _ESCAPED.sub(r"\1", match[1])
    if not match["any"]:
        return compare(name, Operator.EQ, beginning)
    return _STARTS_WITH(name, beginning) if beginning else _NULL[False](name)


def _is_one_of(name: str, values: list[Value]) -> BooleanExpression:
    """``In``, but 0.0 also finds -0.0, which Arrow's sets of values tell apart and its comparisons do not."""
    if 0.0 not in values or not any(isinstance(value, float) for value in values):
        return _IN(name, values)
    others = [value for value in values if value != 0]
    zero = compare(name, Operator.EQ, 0.0)
    return Or(zero, _IN(name, others)) if others else zero
