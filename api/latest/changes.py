"""Changes of the hot view for the event streams of this process: all clients of a family share a subscription."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable

import redis
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from resources.hot_view import Subject, changes_channel

MOST_WAITING_BYTES = 4 << 20
"""What may wait for one client; one that falls further behind is dropped."""

_POLL_S = 30.0

Changes = tuple[Subject, bytes]
"""What changed, and its entries, one a line."""

logger = logging.getLogger(__name__)


class Subscriber:
    """One client's queue."""

    def __init__(self, family: str) -> None:
        self.family = family
        self.ended = False
        self.on_end: Callable[[], None] = lambda: None
        self._waiting: deque[Changes] = deque()
        self._waiting_bytes = 0
        self._arrived = asyncio.Event()

    def offer(self, changes: Changes) -> None:
        """Queue changes; ends the stream of a client that leaves too much waiting."""
        self._waiting_bytes += len(changes[1])
        if self._waiting_bytes > MOST_WAITING_BYTES:
            logger.warning("dropped a client of the events of %s that is too slow", self.family)
            self.end()
            return
        self._waiting.append(changes)
        self._arrived.set()

    def end(self) -> None:
        """End the stream, also one that has not begun to send."""
        self.ended = True
        self.on_end()

    async def next(self) -> Changes:
        """Wait for the next changes."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        changes = self._waiting.popleft()
        self._waiting_bytes -= len(changes[1])
        return changes


class ChangeFeed:
    """Hands the changes of each family to its subscribers; belongs to one event loop."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._subscribers: dict[str, set[Subscriber]] = {}
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._starting = asyncio.Lock()

    async def join(self, family: str) -> Subscriber:
        """Subscribe to the changes of ``family`` from now on.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        async with self._starting:
            if family not in self._readers:
                pubsub = self._client.pubsub(ignore_subscribe_messages=True)
                try:
                    await pubsub.subscribe(*(changes_channel(family, subject) for subject in Subject))
                except redis.RedisError:
                    await pubsub.aclose()  # type: ignore[no-untyped-call]
                    raise
                self._subscribers[family] = set()
                self._readers[family] = asyncio.create_task(self._read(family, pubsub))
            subscriber = Subscriber(family)
            self._subscribers[family].add(subscriber)
            return subscriber

    def leave(self, subscriber: Subscriber) -> None:
        """Forget a subscriber; with the last one of a family, the connection to Redis is given back."""
        members = self._subscribers.get(subscriber.family, set())
        members.discard(subscriber)
        if not members and (reader := self._readers.pop(subscriber.family, None)):
            reader.cancel()

    async def close(self) -> None:
        """End all streams."""
        readers = list(self._readers.values())
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)

    async def _read(self, family: str, pubsub: PubSub) -> None:
        subscribers = self._subscribers[family]
        subjects = {changes_channel(family, subject).encode(): subject for subject in Subject}
        try:
            while True:
                message = await pubsub.get_message(timeout=_POLL_S)
                if message is not None:
                    changes = subjects[message["channel"]], message["data"]
                    for subscriber in tuple(subscribers):
                        subscriber.offer(changes)
        except redis.RedisError as error:
            logger.warning("Redis does not answer, the streams of %s end: %s", family, error)
        finally:
            if self._subscribers.get(family) is subscribers:
                self._readers.pop(family, None)
            for subscriber in tuple(subscribers):
                subscriber.end()
            await pubsub.aclose()  # type: ignore[no-untyped-call]
