"""Keyset paging: a cursor names a snapshot and the last row that was read, in the total order of the query.

The next page is a filter on the same snapshot (https://use-the-index-luke.com/no-offset), so that it costs what
the first page does, and commits in between move no row from one page to another.
"""

import base64
import binascii
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Any, Literal

import orjson
from pydantic import TypeAdapter, ValidationError
from pyiceberg.expressions import (
    AlwaysFalse,
    And,
    BooleanExpression,
    EqualTo,
    GreaterThan,
    IsNaN,
    IsNull,
    LessThan,
    Or,
)

from contracts import ColumnType

Direction = Literal["ascending", "descending"]
Order = tuple[tuple[str, Direction], ...]
Value = str | bool | int | float | datetime | None

EPOCH = datetime.fromtimestamp(0, UTC)
VERSION = 1

_TOKEN = TypeAdapter(tuple[Literal[1], int, str, list[str | bool | int | float | None]])
# PyIceberg's constructors are called by position, which its pydantic models do not declare
_EQUAL: Callable[..., BooleanExpression] = EqualTo
_AFTER: dict[Direction, Callable[..., BooleanExpression]] = {"ascending": GreaterThan, "descending": LessThan}
_IS_NULL: Callable[..., BooleanExpression] = IsNull
_IS_NAN: Callable[..., BooleanExpression] = IsNaN


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page ended: ``after`` has the last row's values of the columns of the total order."""

    snapshot_id: int
    query: str
    """Fingerprint of the query, which must be the same for each page."""
    after: tuple[Value, ...]


def encode(cursor: Cursor) -> str:
    """Write ``cursor`` as text for an address."""
    values = [_written(value) for value in cursor.after]
    token = orjson.dumps([VERSION, cursor.snapshot_id, cursor.query, values])
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def decode(text: str, types: Sequence[ColumnType], query: str) -> Cursor:
    """Read a cursor of the query with the fingerprint ``query``, whose total order has columns of ``types``.

    Raises:
        ValueError: it is none, or that of another query; the message says so.
    """
    try:
        raw = base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        _, snapshot_id, of, values = _TOKEN.validate_json(raw, strict=True)
    except (binascii.Error, ValidationError, UnicodeError) as error:
        raise ValueError("it is not a cursor: take next_cursor of the page before as it is") from error
    if of != query:
        raise ValueError("it belongs to another query: filters, order and as_of stay the same from page to page")
    try:
        after = tuple(_read(type_, value) for type_, value in zip(types, values, strict=True))
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError("it does not fit the order: take next_cursor of the page before as it is") from error
    return Cursor(snapshot_id, of, after)


def _written(value: Value) -> str | bool | int | None:
    if isinstance(value, datetime):
        return (value - EPOCH) // timedelta(microseconds=1)
    # JSON has no NaN and no infinity; Python's text of a float is exact
    return repr(value) if isinstance(value, float) else value


def _read(type_: ColumnType, value: str | bool | float | None) -> Value:
    if value is None:
        return None
    if type_ is ColumnType.DOUBLE and isinstance(value, str):
        return float(value)
    if type_ is ColumnType.TIMESTAMP and type(value) is int:
        return EPOCH + timedelta(microseconds=value)
    expected = {ColumnType.STRING: str, ColumnType.BOOLEAN: bool, ColumnType.INT: int, ColumnType.LONG: int}
    if type(value) is not expected.get(type_):
        raise TypeError(type_)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise OverflowError(value)
    return value


def rows_after(order: Order, after: Sequence[Value], types: Mapping[str, ColumnType]) -> BooleanExpression:
    """The filter for rows that come after the row with the values ``after`` in ``order``.

    Within a column, values that are not a number come after all others, and those without a value after them,
    whatever the direction: so Arrow sorts.
    """
    alternatives: list[BooleanExpression] = []
    equal: list[BooleanExpression] = []
    for (name, direction), value in zip(order, after, strict=True):
        is_double = types[name] is ColumnType.DOUBLE
        later = _later(name, direction, value, is_double=is_double)
        if later is not None:
            alternatives.append(reduce(And, equal, later))
        equal.append(_same(name, value))
    return reduce(Or, alternatives) if alternatives else AlwaysFalse()


def _later(name: str, direction: Direction, value: Value, *, is_double: bool) -> BooleanExpression | None:
    if value is None:
        return None
    if isinstance(value, float) and math.isnan(value):
        return _IS_NULL(name)
    comes_after: BooleanExpression = Or(_AFTER[direction](name, value), _IS_NULL(name))
    return Or(comes_after, _IS_NAN(name)) if is_double else comes_after


def _same(name: str, value: Value) -> BooleanExpression:
    if value is None:
        return _IS_NULL(name)
    return _IS_NAN(name) if isinstance(value, float) and math.isnan(value) else _EQUAL(name, value)


def value_of(scalar: Any) -> Value:  # noqa: ANN401
    """A value of an Arrow column as a cursor keeps it; timestamps are of microseconds in UTC."""
    value = scalar.as_py()
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return value  # type: ignore[no-any-return]
