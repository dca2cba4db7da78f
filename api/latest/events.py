"""What one client of live values is sent, as server-sent events or otherwise, and when it ends."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import anyio
import orjson

from api.latest.changes import Change, ChangesLostError, StreamEnd, Subscriber
from resources.hot_view import Subject, document, zone, zone_bytes

HEARTBEAT_S = 15.0
PERMITTED_FOR_S = 15.0
"""How long a client is sent changes until it is looked whether it may still see them."""
LAST_WORD_S = 5.0
"""How long a client whose stream has ended may take to read what is being sent, and why it ended."""

MOST_PIECE_BYTES = 256 << 10
"""Sent at once, unless one event is larger: clients of WebSockets refuse messages of more than some MiB."""

ID_PATTERN = r"^\d{1,19}-\d{1,19}$"
"""Of ids, as Redis gives them to what it appends to a stream."""
RESET = "reset"
"""The kind of an event that says that some are missing before it."""
END = "end"
"""That of the last one, which says why the stream ends."""


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

    def wanted(self, changes: Sequence[Change]) -> list[Change]:
        """Return those of the changes that match."""
        found = changes
        if self.kind is not None:
            found = [change for change in found if EVENT_KINDS[change.subject] is self.kind]
        if self.zone is not None:
            name = zone_bytes(self.zone)
            found = [change for change in found if zone(change.entry) == name]
        if self.sensor_id is not None:
            written = orjson.dumps(self.sensor_id)
            found = [
                change
                for change in found
                if change.subject is Subject.SENSOR
                and written in change.entry
                and orjson.loads(document(change.entry))["sensor_id"] == self.sensor_id
            ]
        return list(found)


class Writer(Protocol):
    """How a protocol writes what a client is sent; ``position`` is the id from which a client can go on."""

    def changes(self, changes: Sequence[Change]) -> bytes:
        """Write changes, of which there is at least one."""

    def nothing_new(self, position: str) -> bytes:
        """Write that the stream is alive."""

    def reset(self, detail: str, position: str) -> bytes:
        """Write that changes are missing here."""


async def written(
    subscriber: Subscriber, wanted: EventFilter, writer: Writer, is_permitted: Callable[[], Awaitable[bool]]
) -> AsyncIterator[bytes]:
    """What a client is sent, a piece at a time, as it comes; ends when ``is_permitted`` no longer says so.

    Raises:
        StreamEndedError: there is nothing more to wait for; the client is to be told.
    """
    permitted_until = anyio.current_time() + PERMITTED_FOR_S
    while True:
        if anyio.current_time() > permitted_until:
            if not await is_permitted():
                subscriber.finish(StreamEnd.REFUSED)
            permitted_until = anyio.current_time() + PERMITTED_FOR_S
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                changes: list[Change] = []
                while not changes:
                    changes = wanted.wanted(await subscriber.next())
        except TimeoutError:
            yield writer.nothing_new(subscriber.position)
        except ChangesLostError as error:
            yield writer.reset(str(error), subscriber.position)
        else:
            for piece in _pieces(changes):
                yield writer.changes(piece)


def _pieces(changes: Sequence[Change]) -> Iterator[Sequence[Change]]:
    first = size = 0
    for index, change in enumerate(changes):
        if first < index and size + len(change.entry) > MOST_PIECE_BYTES:
            yield changes[first:index]
            first, size = index, 0
        size += len(change.entry)
    yield changes[first:]


@contextmanager
def last_word(subscriber: Subscriber) -> Iterator[None]:
    """Cancel what is sent inside some time after the stream's end: the client does not read."""
    with anyio.CancelScope() as scope:

        def end() -> None:
            scope.deadline = anyio.current_time() + LAST_WORD_S

        subscriber.on_end = end
        if subscriber.end is not None:
            end()
        yield
