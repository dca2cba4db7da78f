"""Server-sent events (WHATWG HTML, section 9.2) of the changes of a family."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum

import orjson
from anyio import CancelScope
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.latest.changes import ChangeFeed, Subscriber
from resources.hot_view import Subject, document, order, zone, zone_bytes

HEARTBEAT_S = 15.0
RECONNECT_MS = 2_000


class EventKind(StrEnum):
    """What an event is about, and its name in the stream."""

    READING = "reading"
    ZONE = "zone"


EVENT_KINDS = {Subject.SENSOR: EventKind.READING, Subject.ZONE: EventKind.ZONE}


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which changes a client wants; ``None`` where it does not matter."""

    zone: str | None
    sensor_id: str | None
    kind: EventKind | None = None

    def wanted(self, subject: Subject, entries: bytes) -> list[bytes]:
        """Return those of the entries, one a line, that match."""
        if self.kind not in {None, EVENT_KINDS[subject]}:
            return []
        if self.sensor_id is not None:
            written = orjson.dumps(self.sensor_id)
            if subject is not Subject.SENSOR or written not in entries:
                return []
        found = entries.split(b"\n")
        if self.zone is not None:
            name = zone_bytes(self.zone)
            found = [entry for entry in found if zone(entry) == name]
        if self.sensor_id is not None:
            found = [
                entry
                for entry in found
                if written in entry and orjson.loads(document(entry))["sensor_id"] == self.sensor_id
            ]
        return found


class EventStream(StreamingResponse):
    """The answer to one client; ends when the client goes away, is too slow, or Redis does."""

    media_type = "text/event-stream"

    def __init__(self, feed: ChangeFeed, subscriber: Subscriber, wanted: EventFilter) -> None:
        super().__init__(
            _events(subscriber, wanted), headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
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
        with CancelScope() as scope:
            self._subscriber.on_end = scope.cancel
            if self._subscriber.ended:
                scope.cancel()
            await super().stream_response(send)


async def _events(subscriber: Subscriber, wanted: EventFilter) -> AsyncIterator[bytes]:
    yield b"retry: %d\n\n" % RECONNECT_MS
    while True:
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                chunk = b""
                while not chunk:
                    subject, entries = await subscriber.next()
                    chunk = b"".join(_event(subject, entry) for entry in wanted.wanted(subject, entries))
        except TimeoutError:
            chunk = b": nothing new\n\n"
        yield chunk


def _event(subject: Subject, entry: bytes) -> bytes:
    identity = order(entry)
    if subject is Subject.ZONE:
        identity += b"/" + zone(entry)
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (identity, EVENT_KINDS[subject].encode(), document(entry))
