"""From the query string to a :class:`RowQuery`, checked against the contract."""

import hashlib
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Query, Request
from pydantic import Field, ValidatorFunctionWrapHandler, WithJsonSchema, WrapValidator
from pyiceberg.expressions import BooleanExpression

from api.problems import InvalidParameter, InvalidParametersError
from api.rows.cursor import Cursor, Order, decode
from api.rows.formats import Format, accepted_format
from api.rows.pins import AsOf, parse_as_of
from api.rows.query_string import (
    AsOfText,
    FormatName,
    attempt,
    known_column,
    optional,
    read_filters,
    table_filters,
    unique,
)
from contracts import Table

DEFAULT_LIMIT = 100
ALL_ROWS = -1
"""Stands for ``limit=all``."""

SHAPE_PARAMETERS = ("columns", "order", "limit", "as_of", "cursor", "format")
"""Parameters that filter nothing; a column of such a name is filtered as ``name__eq``."""

NO_ORDER: Order = ()

OF_A_PAGE = ("columns", "limit", "cursor", "format")
"""Parameters that may differ from page to page."""


@dataclass(frozen=True, slots=True)
class RowQuery:
    """Which rows and columns are wanted, in which order and format.

    ``order`` is completed with the table's key, so that it is total; it is empty where any order will do.
    """

    table: Table
    columns: tuple[str, ...]
    order: Order
    limit: int
    row_filter: BooleanExpression
    as_of: AsOf | None
    cursor: Cursor | None
    format: Format
    sent: tuple[tuple[str, str], ...]
    """The query string as it came, sorted."""
    everything: bool = False
    """Whether all rows are wanted, whatever ``limit`` says."""

    @property
    def pinned_to(self) -> int | None:
        """The snapshot of the page before, if there is one."""
        return None if self.cursor is None else self.cursor.snapshot_id

    @property
    def fingerprint(self) -> str:
        """Stands for filters, order and ``as_of``: what all pages of a query have in common."""
        return _fingerprint(self.table, self.sent)


def row_query(table: Table, *, max_rows: int) -> Callable[..., Coroutine[Any, Any, RowQuery]]:
    """Return a FastAPI dependency that reads the query string of a request for rows of ``table``.

    The dependency raises :class:`api.problems.InvalidParametersError` with all that is wrong at once.
    """
    filters = table_filters(table)
    shown = tuple(dict.fromkeys((*table.key, table.event_time)))

    async def read_query(
        request: Request,
        *,
        columns: Annotated[
            str | None,
            Query(
                description="Columns to return, in this order, separated by commas; all if left out",
                examples=[",".join(shown)],
            ),
        ] = None,
        order: Annotated[
            str | None,
            Query(
                description="Columns to sort by, separated by commas; `-column` sorts downwards. Rows without a "
                f"value come last either way, ties go by the key ({', '.join(table.key)}). If left out, rows "
                "come in no particular order, which is fastest, and cannot be paged",
                examples=[f"-{table.event_time}"],
            ),
        ] = None,
        limit: Annotated[
            int,
            *_or_all(max_rows),
            Query(
                description="Most rows to return, or `all`: every row, in no particular order, streamed as it is "
                "read. That is for the formats that have rows alone, not for JSON"
            ),
        ] = min(DEFAULT_LIMIT, max_rows),
        as_of: AsOfText = None,
        cursor: Annotated[
            str | None,
            Query(
                description="`next_cursor` of the page before: the next page, from the same snapshot. Filters, "
                "`order` and `as_of` stay as they were"
            ),
        ] = None,
        format: FormatName = None,
    ) -> RowQuery:
        errors: list[InvalidParameter] = []
        sent = sorted(request.query_params.multi_items())
        row_filter = read_filters(filters, sent, SHAPE_PARAMETERS, errors)
        total_order = attempt(errors, "order", lambda: _total_order(table, order), NO_ORDER)
        written = accepted_format(request.headers.get("Accept")) if format is None else format
        everything = limit == ALL_ROWS
        if everything:
            attempt(errors, "limit", lambda: _check_streamed(written, total_order), None)
        query = RowQuery(
            table=table,
            columns=attempt(errors, "columns", lambda: _columns(table, columns), ()),
            order=total_order,
            limit=limit,
            row_filter=row_filter,
            as_of=optional(errors, "as_of", as_of, parse_as_of),
            cursor=attempt(errors, "cursor", lambda: _cursor(table, total_order, cursor, sent), None),
            format=written,
            everything=everything,
            sent=tuple(sent),
        )
        if errors:
            raise InvalidParametersError(errors)
        return query

    return read_query


def _or_all(max_rows: int) -> tuple[Any, ...]:
    """What makes of a number of rows one that may also be ``all``; that is read as ``ALL_ROWS``."""

    def read(text: object, number: ValidatorFunctionWrapHandler) -> int:
        return ALL_ROWS if text == "all" else number(text)

    numbers = {"type": "integer", "minimum": 1, "maximum": max_rows}
    return (
        Field(ge=1, le=max_rows),
        WrapValidator(read),
        WithJsonSchema({"anyOf": [numbers, {"type": "string", "const": "all"}]}),
    )


def _check_streamed(format_: Format, order: Order) -> None:
    if format_ is Format.JSON:
        streamed = [each for each in Format if each is not Format.JSON]
        raise ValueError(f"all rows do not come as JSON: send format={'|'.join(streamed)}, or page by cursor")
    if order:
        raise ValueError("all rows come in no particular order: leave order and cursor out, or page by cursor")


def _columns(table: Table, text: str | None) -> tuple[str, ...]:
    if text is None:
        return tuple(column.name for column in table.columns)
    return unique([known_column(table, name) for name in text.split(",")])


def _total_order(table: Table, text: str | None) -> Order:
    """The order that is asked for, completed with the key: the same query always gives the same rows."""
    if text is None:
        return ()
    terms = text.split(",")
    names = unique([known_column(table, term.removeprefix("-")) for term in terms])
    asked: Order = tuple(
        (name, "descending" if term.startswith("-") else "ascending")
        for name, term in zip(names, terms, strict=True)
    )
    return (*asked, *((name, "ascending") for name in table.key if name not in names))


def _cursor(table: Table, order: Order, text: str | None, sent: list[tuple[str, str]]) -> Cursor | None:
    if text is None:
        return None
    if not order:
        raise ValueError("it goes with the order of the page before: send that as well")
    return decode(text, [table.column(name).type for name, _ in order], _fingerprint(table, sent))


def _fingerprint(table: Table, sent: Iterable[tuple[str, str]]) -> str:
    common = [f"{name}={text}" for name, text in sent if name not in OF_A_PAGE]
    return hashlib.sha256("\0".join((table.identifier, *common)).encode(errors="replace")).hexdigest()[:16]
