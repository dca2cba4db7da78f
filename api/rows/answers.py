"""Answers read from one snapshot: headers that say which, and 304 where the client has the answer already."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol, TypeVar

from fastapi import Request, Response
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot

from api.caching.caches import Caches
from api.caching.page import Page
from api.caching.source import Source
from api.catalog import CatalogReader
from api.problems import problem_responses
from api.rows.filters import parse_instant
from api.rows.formats import MEDIA_TYPES, Format, json_bytes
from api.rows.pins import AsOf, snapshot_of
from api.rows.streaming import StreamedAnswer
from api.tables.states import TableState, TableStates, utc_now
from contracts import Table
from resources.snapshots import committed_at

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
    def limit(self) -> int:
        """Most rows of it."""

    @property
    def everything(self) -> bool:
        """Whether all rows are wanted, and so the answer is sent while it is read."""

    @property
    def format(self) -> Format:
        """How the answer is written."""

    @property
    def sent(self) -> tuple[tuple[str, str], ...]:
        """The query string, sorted."""


Q = TypeVar("Q", bound=Query)
Read = Callable[[Source, Q], Page]


async def answer(request: Request, *, query: Q, read: Read[Q], kind: str) -> Response:
    """Answer ``query``: 304 where the client has the answer already, else what ``read`` makes of the snapshot.

    What was read before comes from the caches: the key that was sent may read the table.

    Args:
        request: has asked for it; its ``If-None-Match`` says what the client has.
        query: what is asked for.
        read: reads the snapshot that is asked for; blocks.
        kind: tells answers of equal queries apart.

    Raises:
        ProblemError: the table or the snapshot is not there, or the catalog or the object store does not answer.
    """
    reader: CatalogReader = request.app.state.reader
    caches: Caches = request.app.state.caches
    states: TableStates = request.app.state.states
    table = await reader.table(query.table.identifier)
    snapshot = snapshot_of(table, query.as_of, query.pinned_to)
    state = await states.state(table, query.table, snapshot)
    name = _name(caches, table, snapshot, query, kind)
    headers = _headers_of(snapshot, query, name) | state.headers
    headers["Cache-Control"] = _cache_control(table, snapshot, query)
    if _is_known(headers["ETag"], request.headers.get("If-None-Match")):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)

    async def make() -> Page:
        return await reader.read(lambda: read(caches.source(table, snapshot), query))

    page = await make() if query.everything else await caches.answers.get(name, make)
    headers["Lakehouse-Has-More"] = str(page.has_more).lower()
    if page.next_cursor is not None:
        headers["Lakehouse-Next-Cursor"] = page.next_cursor
    if not isinstance(page.body, bytes):
        return StreamedAnswer(reader, page.body, media_type=MEDIA_TYPES[query.format], headers=headers)
    body = page.body
    if query.format is Format.JSON:
        body = _envelope(query.table, snapshot, state)[:-1] + b"," + body[1:]
    return Response(body, media_type=MEDIA_TYPES[query.format], headers=headers)


def _envelope(declared: Table, snapshot: Snapshot | None, state: TableState) -> bytes:
    """What an answer in JSON says of its snapshot, at this moment."""
    return json_bytes(
        {
            "table": declared.identifier,
            "snapshot_id": None if snapshot is None else str(snapshot.snapshot_id),
            "committed_at": None if snapshot is None else committed_at(snapshot),
            **state.fields,
        }
    )


def _name(caches: Caches, table: IcebergTable, snapshot: Snapshot | None, query: Query, kind: str) -> str:
    """Stands for all that the rows of an answer of some ``kind`` depend on."""
    columns = ",".join(column.name for column in query.table.columns)
    sent = [part for pair in query.sent for part in pair]
    return caches.name(
        table, snapshot, kind, query.table.identifier, columns, query.format, str(query.limit), *sent
    )


def _headers_of(snapshot: Snapshot | None, query: Query, name: str) -> dict[str, str]:
    """What is known of the answer ``name`` before anything is read, its ``ETag`` above all."""
    snapshot_id = "none" if snapshot is None else str(snapshot.snapshot_id)
    tag = name[:32]
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
