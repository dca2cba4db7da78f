"""Reads of the hot view that cost a bounded delay, whatever Redis does."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar, cast

from redis.asyncio import Redis

from api.circuit_breaker import CircuitBreaker, RedisAwayError
from api.latest.gathered import GatheredReads
from api.problems import RETRY_AFTER_S, UnavailableError

ANSWER_WITHIN_S = 1.0
"""What a read may take, with connecting; it takes a millisecond where all is well."""
AWAY_FOR_S = 2.0
"""How long a Redis that did not answer is left alone: requests that come meanwhile do not wait for it."""

T = TypeVar("T")


class HotViewUnavailableError(UnavailableError):
    """Redis does not answer."""

    def __init__(self) -> None:
        super().__init__(f"the live values cannot be read now: try again in {RETRY_AFTER_S} s")


class HotViewReader:
    """Asks Redis, unless it did not answer a moment ago; belongs to one event loop."""

    def __init__(self, client: Redis, of_entries: Redis) -> None:
        """Make a reader.

        Args:
            client: asked many questions at a time.
            of_entries: asked for entries, all that are waited for at once.
        """
        self._client = client
        self._of_entries = of_entries
        self._breaker = CircuitBreaker("the tables do in its place")
        self._entries = GatheredReads(self._read_entries)

    async def entry(self, key: str) -> bytes | None:
        """Return what stands under ``key``; those that are asked for meanwhile are read together.

        Raises:
            HotViewUnavailableError: Redis does not answer, or did not a moment ago.
        """
        return await self._entries.get(key)

    async def _read_entries(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        return await self._ask(
            self._of_entries, lambda redis: cast(Awaitable[Sequence[bytes | None]], redis.mget(keys))
        )

    async def read(self, question: Callable[[Redis], Awaitable[T]]) -> T:
        """Return the answer to ``question``.

        Raises:
            HotViewUnavailableError: Redis does not answer, or did not a moment ago.
        """
        return await self._ask(self._client, question)

    async def _ask(self, client: Redis, question: Callable[[Redis], Awaitable[T]]) -> T:
        try:
            return await self._breaker.ask(lambda: question(client), within_s=ANSWER_WITHIN_S, pause_s=AWAY_FOR_S)
        except RedisAwayError as error:
            raise HotViewUnavailableError from error
