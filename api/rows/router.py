"""Routes for rows: one per table, so that each has its own parameters and model."""

from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from api.caching.page import Page
from api.caching.source import Source
from api.prepared import answer_prepared
from api.rows.answers import OTHER_FORMATS, PROBLEMS, VERSION_BYTES, TableAnswer
from api.rows.dependencies import RowQuery, row_query
from api.rows.parameters import filter_documentation
from api.rows.schemas import rows_model
from api.security import RequiresKey, requires
from api.tables.dependencies import ServedTable
from contracts import Table
from resources.api_keys import Action


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
        request: Request,
        query: Annotated[RowQuery, Depends(row_query(table, max_rows=max_rows))],
    ) -> Response:
        answer = TableAnswer(query, read=_read, kind="rows")
        return await answer_prepared(request, answer, remembers_bytes=VERSION_BYTES)

    router.add_api_route(
        f"/{table.identifier}/rows",
        table_rows,
        name=f"{table.identifier}_rows",
        summary=f"Rows of {table.identifier}",
        description=f"{table.description}.\n\nThe newest first: `order=-{table.event_time}`. Filters are columns, "
        "alone (`column=value`) or with an operator (`column__ge=value`), and all must hold. Unknown parameters "
        "are refused. In JSON, a double that is not finite is null.\n\nFor all rows, page by page: send `order`, "
        "then `cursor` with `next_cursor` of each answer; all pages are of one snapshot. Or all at once, in no "
        "order: `limit=all` streams them, and a stream that cannot be finished breaks the connection off. Other "
        "formats by `format` or `Accept`: NDJSON, CSV, Parquet, Arrow IPC stream. Those have rows alone; what the "
        "envelope says stands in the headers `Lakehouse-Snapshot-Id`, `Lakehouse-Reaches`, "
        "`Lakehouse-Freshness-Ms`, `Lakehouse-Quality`, `Lakehouse-Has-More` and `Lakehouse-Next-Cursor`. An "
        "answer has an `ETag`; a repeated query with `If-None-Match` reads nothing while the table has no new "
        "snapshot.",
        response_model=rows_model(table),
        response_description="The rows, all from one snapshot",
        responses={200: {"content": OTHER_FORMATS}, **PROBLEMS},
        dependencies=[requires(Action.READ, table.identifier)],
        openapi_extra={"parameters": filter_documentation(table)},
    )


def _read(source: Source, query: RowQuery) -> Page:
    # PyIceberg's reader imports pandas: a second that the start of the service need not wait for
    from api.rows.everything import read_everything
    from api.rows.service import read_page

    if query.everything:
        return read_everything(source, query)
    return read_page(source, query)
