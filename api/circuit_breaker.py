"""Questions to Redis that cost a bounded delay, whatever it does."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import redis
from redis.exceptions import MaxConnectionsError

T = TypeVar("T")

logger = logging.getLogger(__name__)


class RedisAwayError(Exception):
    """Redis does not answer, or did not a moment ago."""


class CircuitBreaker:
    """Asks Redis, unless it did not answer a moment ago; belongs to one event loop.

    After that moment one question tries again, and the others do without Redis until it has succeeded (the pattern
    of that name: M. Nygard, Release It!, 2nd edition, chapter 5).
    """

    def __init__(self, instead: str, on_failure: Callable[[], None] = lambda: None) -> None:
        """Make one that is closed.

        Args:
            instead: what happens while Redis is away, for the log.
            on_failure: called when a question was not answered; not for those that were not asked.
        """
        self._instead = instead
        self._on_failure = on_failure
        self._failed = False
        self._ask_again_at = float("-inf")

    @property
    def is_open(self) -> bool:
        """Whether Redis is left alone now."""
        return self._failed and time.monotonic() < self._ask_again_at

    async def ask(self, question: Callable[[], Awaitable[T]], *, within_s: float, pause_s: float) -> T:
        """Return the answer to ``question``.

        Args:
            question: asks Redis.
            within_s: what that may take, with connecting.
            pause_s: how long Redis is left alone if it does not answer.

        Raises:
            RedisAwayError: Redis does not answer, did not a moment ago, or has enough to do.
        """
        if self.is_open:
            raise RedisAwayError
        if self._failed:
            self._ask_again_at = time.monotonic() + within_s
        try:
            async with asyncio.timeout(within_s):
                answer = await question()
        except MaxConnectionsError as error:
            raise RedisAwayError from error
        except (redis.RedisError, OSError) as error:
            self._ask_again_at = time.monotonic() + pause_s
            if not self._failed:
                logger.warning("Redis does not answer, %s: %s", self._instead, str(error) or type(error).__name__)
            self._failed = True
            self._on_failure()
            raise RedisAwayError from error
        if self._failed:
            logger.warning("Redis answers again")
            self._failed = False
        return answer
