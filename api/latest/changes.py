"""Changes of the hot view for the streams of this process: all clients of a family share one reader."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import NamedTuple, cast

import redis
from redis.asyncio import Redis

from api.latest.reader import HotViewReader, HotViewUnavailableError
from resources.hot_view import Subject, changes_key

MOST_WAITING_BYTES = 4 << 20
"""What may wait for one client; one that falls further behind is dropped."""

_BLOCK_S = 2.0
"""How long one question waits for changes."""
_HANGS_AFTER_S = 5.0
"""How long it may take: a Redis that has not answered then hangs."""
_MOST_AT_ONCE = 1_000
_BEGINNING = "0-0"

Messages = Sequence[tuple[bytes, Mapping[bytes, bytes]]]
"""What Redis returns of a stream: ids and fields."""

logger = logging.getLogger(__name__)


class Change(NamedTuple):
    """An entry that was written, its place in the stream, and what it is about."""

    id: str
    subject: Subject
    entry: bytes


class StreamEnd(StrEnum):
    """Why a stream ended before its client went away; the value is for programs."""

    SLOW = "slow"
    AWAY = "unavailable"
    CLOSING = "closing"
    REFUSED = "refused"

    @property
    def detail(self) -> str:
        """What the client is told."""
        return {
            StreamEnd.SLOW: f"more than {MOST_WAITING_BYTES >> 20} MiB waited for this client: read faster or ask "
            "for less, and go on from the last id",
            StreamEnd.AWAY: "the live values cannot be read now: try again in some seconds, from the last id",
            StreamEnd.CLOSING: "this process of the service ends: connect again, from the last id",
            StreamEnd.REFUSED: "the key or token is no longer valid for this: connect again with one that is",
        }[self]


class StreamEndedError(Exception):
    """There is nothing more to wait for."""

    def __init__(self, end: StreamEnd) -> None:
        super().__init__(end.detail)
        self.end = end


class ChangesLostError(Exception):
    """What changed since a client's last id is not kept any more."""

    def __init__(self, after: str) -> None:
        super().__init__(f"not all that changed since {after} is kept: read latest, what follows goes on from now")


class Subscriber:
    """One client's queue: first what it missed, then what comes."""

    def __init__(self, family: str, reader: HotViewReader, *, joined_at: str, after: str | None) -> None:
        self.family = family
        self.end: StreamEnd | None = None
        self.on_end: Callable[[], None] = lambda: None
        self.position = after or joined_at
        """Id of the change that was looked at last."""
        self._reader = reader
        self._joined_at = joined_at
        self._is_resuming = after is not None
        self._waiting: deque[tuple[Sequence[Change], int]] = deque()
        self._waiting_bytes = 0
        self._arrived = asyncio.Event()

    def offer(self, changes: Sequence[Change], size: int) -> None:
        """Queue changes of ``size`` bytes; ends the stream of a client that leaves too much waiting."""
        if self.end is not None:
            return
        if self._waiting and self._waiting_bytes + size > MOST_WAITING_BYTES:
            logger.warning("dropped a client of the changes of %s that is too slow", self.family)
            self.finish(StreamEnd.SLOW)
            return
        self._waiting_bytes += size
        self._waiting.append((changes, size))
        self._arrived.set()

    def finish(self, end: StreamEnd) -> None:
        """End the stream, also one that has not begun to send."""
        if self.end is None:
            self.end = end
            self._waiting.clear()
            self._arrived.set()
            self.on_end()

    async def next(self) -> Sequence[Change]:
        """Wait for the next changes.

        Raises:
            ChangesLostError: some are missing before the next.
            StreamEndedError: there are no more.
        """
        while self.end is None:
            if self._is_resuming:
                return await self._missed()
            if self._waiting:
                changes, size = self._waiting.popleft()
                self._waiting_bytes -= size
                return self._beyond(changes)
            self._arrived.clear()
            await self._arrived.wait()
        raise StreamEndedError(self.end)

    def _beyond(self, changes: Sequence[Change]) -> Sequence[Change]:
        """Those that come after the position, which moves to the last of them."""
        if changes and place(changes[0].id) <= place(self.position):
            changes = [change for change in changes if place(change.id) > place(self.position)]
        if changes:
            self.position = changes[-1].id
        return changes

    async def _missed(self) -> Sequence[Change]:
        ask = partial(_after, family=self.family, position=self.position)
        try:
            found = await self._reader.read(ask)
        except HotViewUnavailableError as error:
            self.finish(StreamEnd.AWAY)
            raise StreamEndedError(StreamEnd.AWAY) from error
        if not found or found[0].id != self.position:
            lost = ChangesLostError(self.position)
            self._is_resuming = False
            self.position = self._joined_at
            raise lost
        missed = self._beyond(found[1:])
        self._is_resuming = bool(missed) and place(self.position) < place(self._joined_at)
        return missed


class _Group:
    """The clients of a family, and how far their reader is."""

    def __init__(self, position: str) -> None:
        self.position = position
        self.subscribers: set[Subscriber] = set()
        self.reader: asyncio.Task[None] | None = None


class ChangeFeed:
    """Hands the changes of each family to its subscribers; belongs to one event loop."""

    def __init__(self, client: Redis, reader: HotViewReader) -> None:
        self._client = client
        self._reader = reader
        self._groups: dict[str, _Group] = {}
        self._starting = asyncio.Lock()

    async def join(self, family: str, *, after: str | None = None) -> Subscriber:
        """Subscribe to the changes of ``family`` after the one with the id ``after``, or from now on.

        Raises:
            HotViewUnavailableError: Redis does not answer.
        """
        async with self._starting:
            group = self._groups.get(family)
            if group is None:
                group = _Group(await self._reader.read(partial(_newest_id, family=family)))
                self._groups[family] = group
                group.reader = asyncio.create_task(self._read(family, group))
            subscriber = Subscriber(family, self._reader, joined_at=group.position, after=after)
            group.subscribers.add(subscriber)
            return subscriber

    def leave(self, subscriber: Subscriber) -> None:
        """Forget a subscriber; with the last one of a family, the connection to Redis is given back."""
        group = self._groups.get(subscriber.family)
        if group is None:
            return
        group.subscribers.discard(subscriber)
        if not group.subscribers:
            del self._groups[subscriber.family]
            if group.reader is not None:
                group.reader.cancel()

    async def close(self) -> None:
        """End all streams."""
        readers = [group.reader for group in self._groups.values() if group.reader is not None]
        self._groups.clear()
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)

    async def _read(self, family: str, group: _Group) -> None:
        end = StreamEnd.CLOSING
        try:
            # a connection of its own, which goes back also if this is cancelled between two questions
            async with self._client.client() as client:
                # looked at as well, because Python's wait_for, which the client calls, may lose a cancellation
                while self._groups.get(family) is group:
                    async with asyncio.timeout(_HANGS_AFTER_S):
                        changes = await _newer(client, family, group.position)
                    if changes:
                        group.position = changes[-1].id
                        size = sum(len(change.entry) for change in changes)
                        for subscriber in tuple(group.subscribers):
                            subscriber.offer(changes, size)
        except (redis.RedisError, TimeoutError) as error:
            end = StreamEnd.AWAY
            logger.warning("Redis does not answer, the streams of %s end: %s", family, error or "timed out")
        finally:
            if self._groups.get(family) is group:
                del self._groups[family]
            for subscriber in tuple(group.subscribers):
                subscriber.finish(end)


def place(id_: str) -> tuple[int, int]:
    """What ids are ordered by: milliseconds, and a number among those of the same."""
    milliseconds, _, number = id_.partition("-")
    return int(milliseconds), int(number)


async def _newest_id(client: Redis, *, family: str) -> str:
    found = cast(Messages, await client.xrevrange(changes_key(family), count=1))
    return found[0][0].decode() if found else _BEGINNING


async def _newer(client: Redis, family: str, position: str) -> list[Change]:
    """Wait a little for changes after ``position``."""
    block_ms = int(_BLOCK_S * 1000)
    found = await client.xread({changes_key(family): position}, count=_MOST_AT_ONCE, block=block_ms)
    streams = cast(Sequence[tuple[bytes, Messages]], found)
    return _changes(streams[0][1]) if streams else []


async def _after(client: Redis, *, family: str, position: str) -> list[Change]:
    """The change at ``position``, if it is kept, and those that follow."""
    found = await client.xrange(changes_key(family), min=position, count=_MOST_AT_ONCE)
    return _changes(cast(Messages, found))


def _changes(messages: Messages) -> list[Change]:
    subjects = {subject.encode(): subject for subject in Subject}
    return [
        Change(id_.decode(), subjects[about], entry) for id_, fields in messages for about, entry in fields.items()
    ]
