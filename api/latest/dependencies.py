"""The family that a request is about, and the hot view."""

import difflib
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Annotated

import redis
from fastapi import Depends, Request
from redis.asyncio import Redis

from api.latest.changes import ChangeFeed
from api.problems import RETRY_AFTER_S, ProblemError, UnavailableError
from contracts import Family

logger = logging.getLogger(__name__)


class UnknownFamilyError(ProblemError):
    """No family of that name is declared."""

    def __init__(self, name: str, known: Mapping[str, Family]) -> None:
        near = sorted(known, key=lambda other: difflib.SequenceMatcher(None, name, other).ratio(), reverse=True)
        super().__init__(
            HTTPStatus.NOT_FOUND, f"there is no family {name[:80]!r}: did you mean {', '.join(near[:3])}?"
        )


class NoReadingError(ProblemError):
    """A sensor is unknown, or has been silent for so long that its reading is stale."""

    def __init__(self, family: Family, sensor_id: str) -> None:
        minutes = family.stale_after.total_seconds() / 60
        super().__init__(
            HTTPStatus.NOT_FOUND,
            f"no {family.name} sensor {sensor_id[:80]!r} has sent anything in the last {minutes:g} minutes: "
            f"GET /v1/{family.name}/latest lists those that have",
        )


class HotViewUnavailableError(UnavailableError):
    """Redis does not answer."""

    def __init__(self) -> None:
        super().__init__(f"the live values cannot be read now: try again in {RETRY_AFTER_S} s")


@asynccontextmanager
async def hot_view_errors() -> AsyncIterator[None]:
    """Turn the errors of Redis into a problem.

    Raises:
        HotViewUnavailableError: Redis does not answer.
    """
    try:
        yield
    except redis.RedisError as error:
        logger.warning("Redis does not answer: %s", error)
        raise HotViewUnavailableError from error


async def _hot_view(request: Request) -> Redis:
    client: Redis = request.app.state.redis
    return client


async def _change_feed(request: Request) -> ChangeFeed:
    feed: ChangeFeed = request.app.state.changes
    return feed


HotView = Annotated[Redis, Depends(_hot_view)]
Feed = Annotated[ChangeFeed, Depends(_change_feed)]
