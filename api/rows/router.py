"""Routes for rows: one per table, so that each has its own parameters and model."""

import hashlib
from collections.abc import Iterable
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Request, Response
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot

from api.catalog import CatalogReader, Reader
from api.problems import problem_responses
from api.rows.dependencies import RowQuery, row_query
from api.rows.formats import MEDIA_TYPES, Format
from api.rows.parameters import filter_documentation
from api.rows.pins import snapshot_of
from api.rows.schemas import rows_model
from api.security import RequiresKey
from api.tables.dependencies import ServedTable
from contracts import Table
from resources.snapshots import watermark_of

if TYPE_CHECKING:
    from api.rows.service import Page

_OTHER_MEDIA_TYPES = [MEDIA_TYPES[each] for each in Format if each is not Format.JSON]

REVALIDATE = "private, no-cache"
"""Of what another commit may change, closed partitions too: late events and backfills reach those."""
FOR_EVER = "private, max-age=86400, immutable"
"""Of a snapshot by its id, which never changes; a day, as maintenance may expire it."""


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
        request: Request, reader: Reader, query: Annotated[RowQuery, Depends(row_query(table, max_rows=max_rows))]
    ) -> Response:
        return await _answer(reader, query, request.headers.get("If-None-Match"))

    router.add_api_route(
        f"/{table.identifier}/rows",
        table_rows,
        name=f"{table.identifier}_rows",
        summary=f"Rows of {table.identifier}",
        description=f"{table.description}.\n\nThe newest first: `order=-{table.event_time}`. Filters are columns, "
        "alone (`column=value`) or with an operator (`column__ge=value`), and all must hold. Unknown parameters "
        "are refused. In JSON, a double that is not finite is null.\n\nFor all rows, page by page: send `order`, "
        "then `cursor` with `next_cursor` of each answer; all pages are of one snapshot. Other formats by "
        "`format` or `Accept`: NDJSON, CSV, Parquet, Arrow IPC stream. Those have rows alone; what the envelope "
        "says stands in the headers `Lakehouse-Snapshot-Id`, `Lakehouse-Watermark`, `Lakehouse-Has-More` and "
        "`Lakehouse-Next-Cursor`. An answer has an `ETag`; a repeated query with `If-None-Match` reads nothing "
        "while the table has no new snapshot.",
        response_model=rows_model(table),
        response_description="The rows, all from one snapshot",
        responses={
            200: {"content": {media_type: {"schema": {"type": "string"}} for media_type in _OTHER_MEDIA_TYPES}},
            **problem_responses(
                HTTPStatus.UNAUTHORIZED,
                HTTPStatus.NOT_FOUND,
                HTTPStatus.NOT_ACCEPTABLE,
                HTTPStatus.CONFLICT,
                HTTPStatus.UNPROCESSABLE_ENTITY,
                HTTPStatus.SERVICE_UNAVAILABLE,
            ),
        },
        openapi_extra={"parameters": filter_documentation(table)},
    )


async def _answer(reader: CatalogReader, query: RowQuery, known: str | None) -> Response:
    table = await reader.table(query.table.identifier)
    snapshot = snapshot_of(table, query.as_of, None if query.cursor is None else query.cursor.snapshot_id)
    headers = _headers(snapshot, query)
    if known is not None and headers["ETag"] in {each.strip().removeprefix("W/") for each in known.split(",")}:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    page = await reader.read(partial(_read, table, snapshot, query))
    headers["Lakehouse-Has-More"] = str(page.has_more).lower()
    if page.next_cursor is not None:
        headers["Lakehouse-Next-Cursor"] = page.next_cursor
    return Response(page.body, media_type=MEDIA_TYPES[query.format], headers=headers)


def _headers(snapshot: Snapshot | None, query: RowQuery) -> dict[str, str]:
    """What is known of the answer before anything is read."""
    snapshot_id = "none" if snapshot is None else str(snapshot.snapshot_id)
    parts = (query.table.identifier, snapshot_id, query.format, *query.columns, *map("=".join, query.sent))
    tag = hashlib.sha256("\0".join(parts).encode(errors="replace")).hexdigest()[:32]
    pinned = query.cursor is not None or (query.as_of is not None and query.as_of.snapshot_id is not None)
    headers = {
        "ETag": f'"{tag}"',
        "Cache-Control": FOR_EVER if pinned else REVALIDATE,
        "Vary": "Accept, X-API-Key, Authorization",
        "Lakehouse-Snapshot-Id": snapshot_id,
    }
    watermark = None if snapshot is None else watermark_of(snapshot)
    if watermark is not None:
        headers["Lakehouse-Watermark"] = watermark.isoformat().replace("+00:00", "Z")
    return headers


def _read(table: IcebergTable, snapshot: Snapshot | None, query: RowQuery) -> "Page":
    # PyIceberg's reader imports pandas: a second that the start of the service need not wait for
    from api.rows.service import read_page

    return read_page(table, snapshot, query)
