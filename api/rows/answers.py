"""Answers read from one snapshot: headers that say which, and 304 where the client has the answer already."""

import hashlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol, TypeVar

from fastapi import Response
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot

from api.catalog import CatalogReader
from api.problems import problem_responses
from api.rows.filters import parse_instant
from api.rows.formats import MEDIA_TYPES, Format
from api.rows.pins import AsOf, snapshot_of
from api.rows.streaming import StreamedAnswer
from api.tables.states import TableState, TableStates, utc_now
from contracts import Table

REVALIDATE = "private, no-cache"
"""Of what the next commit may change."""
CLOSED = "private, max-age=300"
"""Of days that are over, which late events and backfills reach still: so long do late events of a closed day wait
until it is computed again (``lakehouse_assets.gold.debounce``)."""
FOR_EVER = "private, max-age=86400, immutable"
"""Of a snapshot that is named, and so never another; a day, as maintenance may expire it."""

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
    """Rows of one snapshot, in the format that was asked for; without ``next_cursor`` there is no further page.

    A body in pieces is read while it is sent.
    """

    body: bytes | Generator[bytes, None, None]
    has_more: bool
    next_cursor: str | None = None


Q = TypeVar("Q", bound=Query)
Read = Callable[[IcebergTable, Snapshot | None, Q, TableState], Page]


async def answer(
    reader: CatalogReader, states: TableStates, query: Q, read: Read[Q], *, kind: str, if_none_match: str | None
) -> Response:
    """Answer ``query``: 304 where the client has the answer already, else what ``read`` makes of the snapshot.

    Args:
        reader: loads the table, and runs ``read`` in a thread.
        states: knows how far the snapshot reaches, and what the table's checks say.
        query: what is asked for.
        read: reads the snapshot that is asked for; blocks.
        kind: tells answers of equal queries apart.
        if_none_match: the header, if it was sent.

    Raises:
        ProblemError: the table or the snapshot is not there, or the catalog or the object store does not answer.
    """
    table = await reader.table(query.table.identifier)
    snapshot = snapshot_of(table, query.as_of, query.pinned_to)
    state = await states.state(table, query.table, snapshot)
    headers = _headers_of(snapshot, query, kind) | state.headers
    headers["Cache-Control"] = _cache_control(table, snapshot, query)
    if _is_known(headers["ETag"], if_none_match):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    page = await reader.read(lambda: read(table, snapshot, query, state))
    headers["Lakehouse-Has-More"] = str(page.has_more).lower()
    if page.next_cursor is not None:
        headers["Lakehouse-Next-Cursor"] = page.next_cursor
    if not isinstance(page.body, bytes):
        return StreamedAnswer(reader, page.body, media_type=MEDIA_TYPES[query.format], headers=headers)
    return Response(page.body, media_type=MEDIA_TYPES[query.format], headers=headers)


def _headers_of(snapshot: Snapshot | None, query: Query, kind: str) -> dict[str, str]:
    """What is known of an answer of some ``kind`` before anything is read, its ``ETag`` above all."""
    snapshot_id = "none" if snapshot is None else str(snapshot.snapshot_id)
    columns = [column.name for column in query.table.columns]
    parts = (kind, query.table.identifier, snapshot_id, query.format, *columns, *map("=".join, query.sent))
    tag = hashlib.sha256("\0".join(parts).encode(errors="replace")).hexdigest()[:32]
    # an envelope says how old the data is: equal rows are equal, but not byte by byte
    weak = "W/" if query.format is Format.JSON else ""
    return {
        "ETag": f'{weak}"{tag}"',
        "Vary": "Accept, X-API-Key, Authorization",
        "Lakehouse-Snapshot-Id": snapshot_id,
    }


def _cache_control(table: IcebergTable, snapshot: Snapshot | None, query: Query) -> str:
    """How long the answer from ``snapshot`` stays right."""
    if query.pinned_to is not None:
        return FOR_EVER
    if query.as_of is None:
        return CLOSED if _is_over(query) else REVALIDATE
    if query.as_of.snapshot_id is not None:
        return FOR_EVER
    # the next commit may be older than the instant, but not than a snapshot that came before the current one
    passed = query.as_of.instant is not None and snapshot is not None and snapshot != table.current_snapshot()
    return FOR_EVER if passed else REVALIDATE


def _is_over(query: Query) -> bool:
    """Whether all days that the query is about are closed, as the table's maintenance has it."""
    until = dict(query.sent).get("to")
    if until is None:
        return False
    closed = utc_now() - query.table.maintenance.closes_after
    return parse_instant(until) <= closed.replace(hour=0, minute=0, second=0, microsecond=0)


def _is_known(tag: str, if_none_match: str | None) -> bool:
    """Whether the client has the answer (RFC 9110, section 13.1.2: the comparison is weak)."""
    known = {each.strip().removeprefix("W/") for each in (if_none_match or "").split(",")}
    return tag.removeprefix("W/") in known or "*" in known
