"""What the query strings of rows and of aggregates have in common; everything wrong is collected, not raised."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial, reduce
from typing import Annotated, TypeVar

from fastapi import Query
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression

from api.problems import InvalidParameter
from api.query_parameters import refuse_repeated, similar
from api.rows.bounding_box import has_places, parse_bounding_box
from api.rows.filters import Operator, filter_parameters, parse_filter
from api.rows.formats import Format
from contracts import Table

T = TypeVar("T")

AsOfText = Annotated[
    str | None,
    Query(
        description="Read the table as it was: the id of a snapshot, an instant (RFC 3339), or a tag",
        examples=["2126-03-01T08:00:00Z"],
    ),
]
FormatName = Annotated[Format | None, Query(description="Overrides the header Accept", examples=["json"])]

Filters = Mapping[str, Callable[[str], BooleanExpression]]
"""What each parameter that filters makes of its text; a ``ValueError`` says what would fit."""


@cache
def table_filters(table: Table) -> Filters:
    """Each parameter that filters ``table``: by column, by time with ``from`` and ``to``, and by place."""
    time = table.column(table.event_time)
    filters = {name: partial(parse_filter, *meaning) for name, meaning in filter_parameters(table).items()}
    bounds = {"from": partial(parse_filter, time, Operator.GE), "to": partial(parse_filter, time, Operator.LT)}
    return {**filters, **bounds, **({"bbox": parse_bounding_box} if has_places(table) else {})}


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
    refuse_repeated([name for name, _ in sent], errors, hint=partial(_several, known))
    everything: BooleanExpression = AlwaysTrue()
    expressions: list[BooleanExpression] = []
    for name, text in sent:
        if name in shape:
            continue
        if name not in known:
            errors.append(InvalidParameter(parameter=name[:80], detail=_unknown(name, known, shape)))
            continue
        expression = attempt(errors, name, partial(known[name], text), None)
        if expression is not None:
            expressions.append(expression)
    return reduce(And, expressions, everything)


def _several(known: Filters, name: str) -> str:
    several = f"{name.partition('__')[0]}__{Operator.IN}"
    return f": for any of several values use {several}=a,b" if several in known else ""


def _unknown(name: str, known: Filters, shape: Sequence[str]) -> str:
    columns = [each.removesuffix("__eq") for each in known if each.endswith("__eq")]
    others = [each for each in known if "__" not in each and each not in columns]
    return (
        f"unknown parameter: {similar(name, [*shape, *known])}Allowed are {', '.join([*shape, *others])}, and a "
        f"column, alone or with __{', __'.join(Operator)}; columns are {', '.join(columns)}"
    )
