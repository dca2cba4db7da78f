"""From the query string to an :class:`AggregateQuery`, checked against the contract."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Query, Request
from pyiceberg.expressions import BooleanExpression

from api.aggregates.measures import Measure, parse_bucket, parse_measure
from api.problems import InvalidParameter, InvalidParametersError
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

SHAPE_PARAMETERS = ("measures", "group_by", "time_bucket", "limit", "as_of", "format")

NO_MEASURES: tuple[Measure, ...] = ()
NO_COLUMNS: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AggregateQuery:
    """Which measures of which rows, for each combination of the groups and the bucket of event time."""

    table: Table
    measures: tuple[Measure, ...]
    group_by: tuple[str, ...]
    time_bucket: timedelta | None
    limit: int
    row_filter: BooleanExpression
    as_of: AsOf | None
    format: Format
    sent: tuple[tuple[str, str], ...]

    @property
    def pinned_to(self) -> None:
        """There are no pages."""

    @property
    def everything(self) -> bool:
        """They are as many as the limit lets through."""
        return False


def aggregate_query(table: Table, *, max_rows: int) -> Callable[..., Coroutine[Any, Any, AggregateQuery]]:
    """Return a FastAPI dependency that reads the query string of a request for aggregates of ``table``.

    The dependency raises :class:`api.problems.InvalidParametersError` with all that is wrong at once.
    """
    filters = table_filters(table)

    async def read_query(
        request: Request,
        *,
        measures: Annotated[
            str,
            Query(
                description="What to compute, separated by commas: `count`, or `count`, `sum`, `min`, `max`, "
                "`avg` or `last` (by event time) of a column; quantiles are `p50(column)`, `p99.9(column)`",
                examples=[f"count,max({table.event_time})"],
            ),
        ] = "count",
        group_by: Annotated[
            str | None, Query(description="Columns, separated by commas", examples=[table.key[0]])
        ] = None,
        time_bucket: Annotated[
            str | None,
            Query(
                description=f"Width of buckets of `{table.event_time}`, like `15m`, `1h` or `1d`, in UTC; those "
                "of `7d` begin on Mondays",
                examples=["1h"],
            ),
        ] = None,
        limit: Annotated[int, Query(ge=1, le=max_rows, description="Most groups to return")] = max_rows,
        as_of: AsOfText = None,
        format: FormatName = None,
    ) -> AggregateQuery:
        errors: list[InvalidParameter] = []
        sent = sorted(request.query_params.multi_items())
        query = AggregateQuery(
            table=table,
            measures=attempt(errors, "measures", lambda: _measures(table, measures), NO_MEASURES),
            group_by=attempt(errors, "group_by", lambda: _groups(table, group_by), NO_COLUMNS),
            time_bucket=optional(errors, "time_bucket", time_bucket, parse_bucket),
            limit=limit,
            row_filter=read_filters(filters, sent, SHAPE_PARAMETERS, errors),
            as_of=optional(errors, "as_of", as_of, parse_as_of),
            format=accepted_format(request.headers.get("Accept")) if format is None else format,
            sent=tuple(sent),
        )
        if errors:
            raise InvalidParametersError(errors)
        return query

    return read_query


def _measures(table: Table, text: str) -> tuple[Measure, ...]:
    measures = [parse_measure(table, each) for each in text.split(",")]
    if len({measure.name for measure in measures}) < len(measures):
        raise ValueError("a measure is named twice")
    return tuple(measures)


def _groups(table: Table, text: str | None) -> tuple[str, ...]:
    return NO_COLUMNS if text is None else unique([known_column(table, name) for name in text.split(",")])
