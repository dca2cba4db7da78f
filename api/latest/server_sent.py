"""Server-sent events (WHATWG HTML, section 9.2) of the changes of a family."""

from collections.abc import AsyncIterator, Sequence

import orjson
from fastapi.responses import StreamingResponse
from pydantic.config import JsonDict
from starlette.types import Receive, Scope, Send

from api.latest.changes import Change, ChangeFeed, StreamEndedError, Subscriber
from api.latest.events import END, EVENT_KINDS, ID_PATTERN, RESET, EventFilter, EventKind, last_word, written
from api.security import Permission
from resources.hot_view import document

RECONNECT_MS = 2_000

EVENT_SCHEMA: JsonDict = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": ID_PATTERN},
        "event": {"enum": [*map(str, EventKind), RESET, END]},
        "data": {"type": "string", "contentMediaType": "application/json"},
        "retry": {"const": RECONNECT_MS},
    },
}
"""One of the events (OpenAPI 3.2, section 4.15.3, where the stream is a sequence of such items)."""


class ServerSentEvents:
    """Writes what a client is sent as server-sent events."""

    def changes(self, changes: Sequence[Change]) -> bytes:
        """One event for each change; its id is that of the change."""
        return b"".join(
            b"id: %b\nevent: %b\ndata: %b\n\n"
            % (change.id.encode(), EVENT_KINDS[change.subject].encode(), document(change.entry))
            for change in changes
        )

    def nothing_new(self, position: str) -> bytes:
        """A comment; the id makes a client that is sent little go on from here, too."""
        return b": nothing new\nid: %b\n\n" % position.encode()

    def reset(self, detail: str, position: str) -> bytes:
        """An event of its own kind."""
        return b"id: %b\nevent: %b\ndata: %b\n\n" % (
            position.encode(),
            RESET.encode(),
            orjson.dumps({"detail": detail}),
        )


class EventStream(StreamingResponse):
    """The answer to one client; ends when it goes away, is too slow or no longer permitted, or Redis is away."""

    media_type = "text/event-stream"

    def __init__(
        self, feed: ChangeFeed, subscriber: Subscriber, wanted: EventFilter, permission: Permission
    ) -> None:
        super().__init__(
            _events(subscriber, wanted, permission),
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
        self._feed = feed
        self._subscriber = subscriber

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the end."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._feed.leave(self._subscriber)

    async def stream_response(self, send: Send) -> None:
        """Send events; cancelled where it waits for a client that does not read."""
        with last_word(self._subscriber):
            await super().stream_response(send)


async def _events(subscriber: Subscriber, wanted: EventFilter, permission: Permission) -> AsyncIterator[bytes]:
    yield b"retry: %d\n\n" % RECONNECT_MS
    try:
        async for piece in written(subscriber, wanted, ServerSentEvents(), permission.holds):
            yield piece
    except StreamEndedError as error:
        told = {"reason": error.end.value, "detail": str(error)}
        yield b"event: %b\ndata: %b\n\n" % (END.encode(), orjson.dumps(told))
