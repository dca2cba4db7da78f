"""Routes for aggregates: one per table, as its columns are what there is to choose from."""

from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from api.aggregates.dependencies import AggregateQuery, aggregate_query
from api.aggregates.schemas import AggregatesAnswer
from api.caching.page import Page
from api.caching.source import Source
from api.prepared import answer_prepared
from api.rows.answers import OTHER_FORMATS, PROBLEMS, VERSION_BYTES, TableAnswer
from api.rows.parameters import filter_documentation
from api.security import RequiresKey, requires
from api.tables.dependencies import ServedTable
from contracts import Table
from resources.api_keys import Action


def aggregates_router(tables: Iterable[Table], *, max_rows: int) -> APIRouter:
    """Make the routes for the aggregates of ``tables``."""
    router = APIRouter(prefix="/v1/tables", tags=["Aggregates"], dependencies=[RequiresKey])
    for table in tables:
        _add_route(router, table, max_rows)

    @router.get("/{identifier}/aggregate", include_in_schema=False)
    async def unknown_table_aggregate(table: ServedTable) -> None:
        """Answer for a table that has no route of its own: the dependency does, with 404."""

    return router


def _add_route(router: APIRouter, table: Table, max_rows: int) -> None:
    async def table_aggregate(
        request: Request,
        query: Annotated[AggregateQuery, Depends(aggregate_query(table, max_rows=max_rows))],
    ) -> Response:
        answer = TableAnswer(query, read=_read, kind="aggregate")
        return await answer_prepared(request, answer, remembers_bytes=VERSION_BYTES)

    router.add_api_route(
        f"/{table.identifier}/aggregate",
        table_aggregate,
        name=f"{table.identifier}_aggregate",
        summary=f"Aggregates of {table.identifier}",
        description=f"{table.description}.\n\nOne row for each bucket of time and combination of the `group_by` "
        "columns, in their order; one row of all without either. A measure `avg(x)` is the column `avg_x`. Values "
        "that are null are left out, and a group without any value has null. A `count` alone reads no "
        "file whose rows all match, such as those of whole days. Filters, formats, `as_of` and `ETag` "
        f"are those of `/v1/tables/{table.identifier}/rows`.",
        response_model=AggregatesAnswer,
        response_description="The groups, all from one snapshot",
        responses={200: {"content": OTHER_FORMATS}, **PROBLEMS},
        dependencies=[requires(Action.READ, table.identifier)],
        openapi_extra={"parameters": filter_documentation(table)},
    )


def _read(source: Source, query: AggregateQuery) -> Page:
    # PyIceberg's reader imports pandas: a second that the start of the service need not wait for
    from api.aggregates.service import read_aggregates

    return read_aggregates(source, query)
