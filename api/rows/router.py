"""Routes for rows: one per table, so that each has its own parameters and model."""

from collections.abc import Iterable
from functools import partial
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pyiceberg.table import Table as IcebergTable

from api.catalog import CatalogReader, Reader
from api.problems import problem_responses
from api.rows.dependencies import RowQuery, row_query
from api.rows.parameters import filter_documentation
from api.rows.schemas import rows_model
from api.security import RequiresKey
from api.tables.dependencies import ServedTable
from contracts import Table


def rows_router(tables: Iterable[Table], *, max_rows: int) -> APIRouter:
    """Make the routes for the rows of ``tables``."""
    router = APIRouter(prefix="/v1/tables", tags=["Rows"], dependencies=[RequiresKey])
    for table in tables:
        _add_route(router, table, max_rows)

    @router.get("/{identifier}/rows", include_in_schema=False)
    async def unknown_table_rows(table: ServedTable) -> None:
        """Answer for a table that has no route of its own: the dependency does, with 404."""

    return router


def _add_route(router: APIRouter, table: Table, max_rows: int) -> None:
    async def table_rows(
        reader: Reader, query: Annotated[RowQuery, Depends(row_query(table, max_rows=max_rows))]
    ) -> Response:
        return await _answer(reader, query)

    router.add_api_route(
        f"/{table.identifier}/rows",
        table_rows,
        name=f"{table.identifier}_rows",
        summary=f"Rows of {table.identifier}",
        description=f"{table.description}.\n\nThe newest first: `order=-{table.event_time}`. Filters are columns, "
        "alone (`column=value`) or with an operator (`column__ge=value`), and all must hold. Unknown parameters "
        "are refused. In JSON, a double that is not finite is null.",
        response_model=rows_model(table),
        response_description="The rows, all from one snapshot",
        responses=problem_responses(
            HTTPStatus.UNAUTHORIZED, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE
        ),
        openapi_extra={"parameters": filter_documentation(table)},
    )


async def _answer(reader: CatalogReader, query: RowQuery) -> Response:
    table = await reader.table(query.table.identifier)
    body = await reader.read(partial(_read, table, query))
    return Response(body, media_type="application/json")


def _read(table: IcebergTable, query: RowQuery) -> bytes:
    # PyIceberg's reader imports pandas: a second that the start of the service need not wait for
    from api.rows.service import read_rows

    return read_rows(table, query)
