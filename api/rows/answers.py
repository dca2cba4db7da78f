"""Answers read from one snapshot: headers that say which, and 304 where the client has the answer already."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol, TypeVar

from fastapi import Response
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot

from api.catalog import CatalogReader
from api.problems import problem_responses
from api.rows.formats import MEDIA_TYPES, Format
from api.rows.pins import AsOf, snapshot_of
from contracts import Table

REVALIDATE = "private, no-cache"
"""Of what another commit may change, closed partitions too: late events and backfills reach those."""
FOR_EVER = "private, max-age=86400, immutable"
"""Of a snapshot by its id, which never changes; a day, as maintenance may expire it."""

PROBLEMS = problem_responses(
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.NOT_ACCEPTABLE,
    HTTPStatus.CONFLICT,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
OTHER_FORMATS = {MEDIA_TYPES[each]: {"schema": {"type": "string"}} for each in Format if each is not Format.JSON}
"""For OpenAPI, where FastAPI says what JSON there is."""


class Query(Protocol):
    """What an answer depends on besides the snapshot."""

    @property
    def table(self) -> Table:
        """The table that is read."""

    @property
    def as_of(self) -> AsOf | None:
        """Which of its snapshots."""

    @property
    def pinned_to(self) -> int | None:
        """The snapshot of the page before."""

    @property
    def format(self) -> Format:
        """How the answer is written."""

    @property
    def sent(self) -> tuple[tuple[str, str], ...]:
        """The query string, sorted."""


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of one snapshot, in the format that was asked for; without ``next_cursor`` there is no further page."""

    body: bytes
    has_more: bool
    next_cursor: str | None = None


Q = TypeVar("Q", bound=Query)
Read = Callable[[IcebergTable, Snapshot | None, Q], Page]


async def answer(
    reader: CatalogReader, query: Q, read: Read[Q], *, kind: str, if_none_match: str | None
) -> Response:
    """Answer ``query``: 304 where the client has the answer already, else what ``read`` makes of the snapshot.

    Args:
        reader: loads the table, and runs ``read`` in a thread.
        query: what is asked for.
        read: reads the snapshot that is asked for; blocks.
        kind: tells answers of equal queries apart.
        if_none_match: the header, if it was sent.

    Raises:
        ProblemError: the table or the snapshot is not there, or the catalog or the object store does not answer.
    """
    table = await reader.table(query.table.identifier)
    snapshot = snapshot_of(table, query.as_of, query.pinned_to)
    headers = _headers_of(snapshot, query, kind)
    if _is_known(headers["ETag"], if_none_match):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    page = await reader.read(lambda: read(table, snapshot, query))
    headers["Lakehouse-Has-More"] = str(page.has_more).lower()
    if page.next_cursor is not None:
        headers["Lakehouse-Next-Cursor"] = page.next_cursor
    return Response(page.body, media_type=MEDIA_TYPES[query.format], headers=headers)


def _headers_of(snapshot: Snapshot | None, query: Query, kind: str) -> dict[str, str]:
    """What is known of an answer of some ``kind`` before anything is read, its ``ETag`` above all."""
    snapshot_id = "none" if snapshot is None else str(snapshot.snapshot_id)
    columns = [column.name for column in query.table.columns]
    parts = (kind, query.table.identifier, snapshot_id, query.format, *columns, *map("=".join, query.sent))
    tag = hashlib.sha256("\0".join(parts).encode(errors="replace")).hexdigest()[:32]
    pinned = query.pinned_to is not None or (query.as_of is not None and query.as_of.snapshot_id is not None)
    return {
        "ETag": f'"{tag}"',
        "Cache-Control": FOR_EVER if pinned else REVALIDATE,
        "Vary": "Accept, X-API-Key, Authorization",
        "Lakehouse-Snapshot-Id": snapshot_id,
    }


def _is_known(tag: str, if_none_match: str | None) -> bool:
    """Whether the client has the answer (RFC 9110, section 13.1.2: the comparison is weak)."""
    known = {each.strip().removeprefix("W/") for each in (if_none_match or "").split(",")}
    return tag in known or "*" in known
