"""Reads of the hot view that cost a bounded delay, whatever Redis does."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import redis
from redis.asyncio import Redis

from api.problems import RETRY_AFTER_S, UnavailableError

ANSWER_WITHIN_S = 1.0
"""What a read may take, with connecting; it takes a millisecond where all is well."""
AWAY_FOR_S = 2.0
"""How long a Redis that did not answer is left alone: requests that come meanwhile do not wait for it."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class HotViewUnavailableError(UnavailableError):
    """Redis does not answer."""

    def __init__(self) -> None:
        super().__init__(f"the live values cannot be read now: try again in {RETRY_AFTER_S} s")


class HotViewReader:
    """Asks Redis, unless it did not answer a moment ago; belongs to one event loop.

    After that moment one read tries again, and the others go on without Redis until it has succeeded.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._is_away = False
        self._ask_again_at = float("-inf")

    async def read(self, question: Callable[[Redis], Awaitable[T]]) -> T:
        """Return the answer to ``question``.

        Raises:
            HotViewUnavailableError: Redis does not answer, or did not a moment ago.
        """
        if self._is_away:
            if time.monotonic() < self._ask_again_at:
                raise HotViewUnavailableError
            self._ask_again_at = time.monotonic() + ANSWER_WITHIN_S
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                answer = await question(self._client)
        except (redis.RedisError, TimeoutError) as error:
            self._ask_again_at = time.monotonic() + AWAY_FOR_S
            if not self._is_away:
                logger.warning("Redis does not answer, the tables do in its place: %s", error or "timed out")
            self._is_away = True
            raise HotViewUnavailableError from error
        if self._is_away:
            logger.warning("Redis answers again")
            self._is_away = False
        return answer
