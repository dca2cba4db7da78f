"""Routes for aggregates: one per table, as its columns are what there is to choose from."""

from collections.abc import Iterable
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot

from api.aggregates.dependencies import AggregateQuery, aggregate_query
from api.aggregates.schemas import AggregatesAnswer
from api.catalog import CatalogReader, Reader
from api.rows.answers import OTHER_FORMATS, PROBLEMS, headers_of, not_modified
from api.rows.formats import MEDIA_TYPES
from api.rows.parameters import filter_documentation
from api.rows.pins import snapshot_of
from api.security import RequiresKey
from api.tables.dependencies import ServedTable
from contracts import Table


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
        reader: Reader,
        query: Annotated[AggregateQuery, Depends(aggregate_query(table, max_rows=max_rows))],
    ) -> Response:
        return await _answer(reader, query, request.headers.get("If-None-Match"))

    router.add_api_route(
        f"/{table.identifier}/aggregate",
        table_aggregate,
        name=f"{table.identifier}_aggregate",
        summary=f"Aggregates of {table.identifier}",
        description=f"{table.description}.\n\nOne row for each bucket of time and combination of the `group_by` "
        "columns, in their order; one row of all without either. A measure `avg(x)` is the column `avg_x`. Values "
        "that are null are left out, and a group without any value has null. Filters, formats, `as_of` and `ETag` "
        f"are those of `/v1/tables/{table.identifier}/rows`.",
        response_model=AggregatesAnswer,
        response_description="The groups, all from one snapshot",
        responses={200: {"content": OTHER_FORMATS}, **PROBLEMS},
        openapi_extra={"parameters": filter_documentation(table)},
    )


async def _answer(reader: CatalogReader, query: AggregateQuery, if_none_match: str | None) -> Response:
    table = await reader.table(query.table.identifier)
    snapshot = snapshot_of(table, query.as_of, query.pinned_to)
    headers = headers_of(snapshot, query, "aggregate")
    if (known := not_modified(headers, if_none_match)) is not None:
        return known
    body, has_more = await reader.read(partial(_read, table, snapshot, query))
    headers["Lakehouse-Has-More"] = str(has_more).lower()
    return Response(body, media_type=MEDIA_TYPES[query.format], headers=headers)


def _read(table: IcebergTable, snapshot: Snapshot | None, query: AggregateQuery) -> tuple[bytes, bool]:
    # PyIceberg's reader imports pandas: a second that the start of the service need not wait for
    from api.aggregates.service import read_aggregates

    return read_aggregates(table, snapshot, query)
