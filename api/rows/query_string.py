"""What the query strings of rows and of aggregates have in common; everything wrong is collected, not raised."""

import difflib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from typing import Annotated, TypeVar

from fastapi import Query
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression

from api.problems import InvalidParameter
from api.rows.filters import Operator, filter_parameters, parse_filter
from api.rows.formats import Format
from contracts import Column, Table

T = TypeVar("T")

AsOfText = Annotated[
    str | None,
    Query(
        description="Read the table as it was: the id of a snapshot, an instant (RFC 3339), or a tag",
        examples=["2126-03-01T08:00:00Z"],
    ),
]
FormatName = Annotated[Format | None, Query(description="Overrides the header Accept", examples=["json"])]

Filters = Mapping[str, tuple[Column, Operator]]


def table_filters(table: Table) -> Filters:
    """Each parameter that filters ``table``, with ``from`` and ``to`` on its event time."""
    time = table.column(table.event_time)
    return {**filter_parameters(table), "from": (time, Operator.GE), "to": (time, Operator.LT)}


def attempt(errors: list[InvalidParameter], parameter: str, read: Callable[[], T], otherwise: T) -> T:
    """Call ``read``; its ``ValueError`` is noted against ``parameter``, and ``otherwise`` is returned."""
    try:
        return read()
    except ValueError as error:
        errors.append(InvalidParameter(parameter=parameter, detail=str(error)))
        return otherwise


def optional(
    errors: list[InvalidParameter], parameter: str, text: str | None, read: Callable[[str], T]
) -> T | None:
    """What ``read`` makes of ``text``, ``None`` where it was not sent; a ``ValueError`` is noted."""
    return None if text is None else attempt(errors, parameter, lambda: read(text), None)


def known_column(table: Table, name: str) -> str:
    """The name, if it is that of a column.

    Raises:
        ValueError: ``table`` has no such column.
    """
    names = [column.name for column in table.columns]
    if name not in names:
        raise ValueError(f"{table.identifier} has no column {name[:80]!r}: choose from {', '.join(names)}")
    return name


def unique(names: list[str]) -> tuple[str, ...]:
    """The names, none of them twice.

    Raises:
        ValueError: one is.
    """
    if len(set(names)) < len(names):
        raise ValueError("a column is named twice")
    return tuple(names)


def read_filters(
    known: Filters, sent: Sequence[tuple[str, str]], shape: Sequence[str], errors: list[InvalidParameter]
) -> BooleanExpression:
    """The filter that all parameters but those of ``shape`` make together."""
    _refuse_repeated([name for name, _ in sent], errors)
    everything: BooleanExpression = AlwaysTrue()
    expressions: list[BooleanExpression] = []
    for name, text in sent:
        if name in shape:
            continue
        if name not in known:
            errors.append(InvalidParameter(parameter=name[:80], detail=_unknown(name, known, shape)))
            continue
        column, operator = known[name]
        expression = attempt(errors, name, partial(parse_filter, column, operator, text), None)
        if expression is not None:
            expressions.append(expression)
    return reduce(And, expressions, everything)


def _refuse_repeated(names: list[str], errors: list[InvalidParameter]) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            column = name.partition("__")[0]
            errors.append(
                InvalidParameter(
                    parameter=name[:80],
                    detail=f"given {times} times: for any of several values use {column[:80]}__in=a,b",
                )
            )


def _unknown(name: str, known: Filters, shape: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, [*shape, *known], n=3)
    hint = f"did you mean {', '.join(near)}? " if near else ""
    columns = ", ".join(dict.fromkeys(column.name for column, _ in known.values()))
    return (
        f"unknown parameter: {hint}Allowed are {', '.join(shape)}, and a column, alone or with "
        f"__{', __'.join(Operator)}; columns are {columns}"
    )
