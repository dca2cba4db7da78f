"""The reader of changes ends with its last client, also where a cancellation is lost on the way."""

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import pytest

from api.latest import changes
from api.latest.changes import ChangeFeed
from api.latest.reader import HotViewReader


class LosesCancellations:
    """A connection to Redis that answers "nothing new" when it is cancelled, as Python 3.11's wait_for may."""

    def __init__(self) -> None:
        self.waiting = 0
        self.waits = asyncio.Event()

    @asynccontextmanager
    async def client(self) -> Any:
        yield self

    async def xrevrange(self, *_: Any, **__: Any) -> list[Any]:
        return []

    async def xread(self, *_: Any, **__: Any) -> list[Any]:
        self.waiting += 1
        self.waits.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return []
        finally:
            self.waiting -= 1
        raise AssertionError


@pytest.mark.parametrize("how", ["leave", "close"])
def test_a_lost_cancellation_keeps_no_reader(how: str) -> None:
    async def scenario() -> None:
        redis: Any = LosesCancellations()
        feed = ChangeFeed(redis, HotViewReader(redis, redis))
        subscriber = await feed.join("traffic")
        await redis.waits.wait()
        reader = next(iter(feed._groups.values())).reader
        assert reader is not None
        if how == "leave":
            feed.leave(subscriber)
        else:
            await asyncio.wait_for(feed.close(), 30)
            assert subscriber.end is changes.StreamEnd.CLOSING
        await asyncio.wait({reader}, timeout=30)
        assert (reader.done(), redis.waiting) == (True, 0)

    asyncio.run(scenario())
