"""Answers read from one snapshot: headers that say which, and 304 where the client has the answer already."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Generic, Protocol, TypeVar

from fastapi import Request, Response
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot

from api.caching.caches import Caches
from api.caching.page import Page
from api.caching.source import Source
from api.catalog import CatalogReader
from api.encoded import EncodedResponse
from api.headers import Fields, sent_headers
from api.problems import problem_responses
from api.rows.filters import parse_instant
from api.rows.formats import MEDIA_TYPES, Format, json_bytes
from api.rows.pins import AsOf, snapshot_of
from api.rows.streaming import StreamedAnswer
from api.tables.states import TableStates, snapshot_header, utc_now
from contracts import Table
from resources.snapshots import committed_at

REVALIDATE = b"private, no-cache"
"""Of what the next commit may change."""
CLOSED = b"private, max-age=300"
"""Of days that are over, which late events and backfills reach still: so long do late events of a closed day wait
until it is computed again (``lakehouse_assets.gold.debounce``)."""
FOR_EVER = b"private, max-age=86400, immutable"
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


VERSION_BYTES = 4_000
"""Memory that an answer takes for what it knows of a version, most of it for the summary of the snapshot."""

Q = TypeVar("Q", bound=Query)
Read = Callable[[Source, Q], Page]


@dataclass(frozen=True, slots=True)
class _Version:
    """What the metadata of a table, which is never another in the same place, says for all answers to a query."""

    location: str
    snapshot: Snapshot | None
    name: str
    """Stands for all that the rows of an answer depend on."""
    tag: str
    fields: Fields
    """Headers, the ``ETag`` among them."""
    passed: bool
    """Whether the snapshot is one that no commit can take the place of."""
    envelope: Mapping[str, object]
    """What an answer in JSON says of the snapshot."""


class TableAnswer(Generic[Q]):
    """Answers requests with one query; most of that is made once for each version of the table's metadata.

    What was read before comes from the caches: that the sender may read the table was asked before.
    """

    def __init__(self, query: Q, *, read: Read[Q], kind: str) -> None:
        """Prepare answers to ``query``.

        Args:
            query: what is asked for.
            read: reads the snapshot that is asked for; blocks.
            kind: tells answers of equal queries apart.
        """
        self._query = query
        self._read = read
        self._kind = kind
        until = dict(query.sent).get("to")
        self._until = None if until is None else parse_instant(until)
        self._last: _Version | None = None

    async def __call__(self, request: Request) -> Response:
        """Answer ``request``: 304 where its ``If-None-Match`` says that the client has the answer already.

        Raises:
            ProblemError: the table or the snapshot is not there, or the catalog or the object store does not
                answer.
        """
        query, app = self._query, request.app.state
        reader: CatalogReader = app.reader
        caches: Caches = app.caches
        states: TableStates = app.states
        table = await reader.table(query.table.identifier)
        version = self._version(caches, table)
        state = await states.state(table, query.table, version.snapshot)
        fields = [*version.fields, *state.headers, (b"cache-control", self._cache_control(version))]
        if _is_known(version.tag, sent_headers(request.scope).get(b"if-none-match")):
            return EncodedResponse(b"", fields, status=HTTPStatus.NOT_MODIFIED)

        async def make() -> Page:
            return await reader.read(lambda: self._read(caches.source(table, version.snapshot), query))

        page = await make() if query.everything else await caches.answers.get(version.name, make)
        fields.append((b"lakehouse-has-more", b"true" if page.has_more else b"false"))
        if page.next_cursor is not None:
            fields.append((b"lakehouse-next-cursor", page.next_cursor.encode("latin-1")))
        media_type = MEDIA_TYPES[query.format]
        if not isinstance(page.body, bytes):
            return StreamedAnswer(reader, page.body, media_type=media_type, fields=fields)
        body = page.body
        if query.format is Format.JSON:
            body = json_bytes({**version.envelope, **state.fields})[:-1] + b"," + body[1:]
        return EncodedResponse(body, fields, media_type=media_type)

    def _version(self, caches: Caches, table: IcebergTable) -> _Version:
        """What is known of the metadata that ``table`` was loaded from."""
        # not the table: it holds on to all of its metadata, and there is one of these for each query
        if self._last is None or self._last.location != table.metadata_location:
            self._last = _version(caches, table, self._query, self._kind)
        return self._last

    def _cache_control(self, version: _Version) -> bytes:
        """How long an answer stays right."""
        if version.passed:
            return FOR_EVER
        return CLOSED if self._query.as_of is None and self._is_over() else REVALIDATE

    def _is_over(self) -> bool:
        """Whether all days that the query is about are closed, as the table's maintenance has it."""
        if self._until is None:
            return False
        closed = utc_now() - self._query.table.maintenance.closes_after
        return self._until <= closed.replace(hour=0, minute=0, second=0, microsecond=0)


def _version(caches: Caches, table: IcebergTable, query: Query, kind: str) -> _Version:
    snapshot = snapshot_of(table, query.as_of, query.pinned_to)
    snapshot_id = None if snapshot is None else str(snapshot.snapshot_id)
    columns = ",".join(column.name for column in query.table.columns)
    sent = [part for pair in query.sent for part in pair]
    name = caches.name(
        table, snapshot, kind, query.table.identifier, columns, query.format, str(query.limit), *sent
    )
    # an envelope says how old the data is: equal rows are equal, but not byte by byte
    weak = "W/" if query.format is Format.JSON else ""
    fields = [
        (b"etag", f'{weak}"{name[:32]}"'.encode()),
        (b"vary", b"Accept, X-API-Key, Authorization"),
        snapshot_header(snapshot_id),
    ]
    return _Version(
        location=table.metadata_location,
        snapshot=snapshot,
        name=name,
        tag=f'"{name[:32]}"',
        fields=fields,
        passed=_is_passed(table, snapshot, query),
        envelope={
            "table": query.table.identifier,
            "snapshot_id": snapshot_id,
            "committed_at": None if snapshot is None else committed_at(snapshot),
        },
    )


def _is_passed(table: IcebergTable, snapshot: Snapshot | None, query: Query) -> bool:
    """Whether the answer from ``snapshot`` is the same after all commits to come."""
    if query.pinned_to is not None:
        return True
    if query.as_of is None:
        return False
    if query.as_of.snapshot_id is not None:
        return True
    # the next commit may be older than the instant, but not than a snapshot that came before the current one
    return query.as_of.instant is not None and snapshot is not None and snapshot != table.current_snapshot()


def _is_known(tag: str, if_none_match: bytes | None) -> bool:
    """Whether the client has the answer (RFC 9110, section 13.1.2: the comparison is weak)."""
    if if_none_match is None:
        return False
    known = {each.strip().removeprefix("W/") for each in if_none_match.decode("latin-1").split(",")}
    return tag in known or "*" in known
