"""Identical reads under way are done once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from prometheus_client import Counter

T = TypeVar("T")


@dataclass(slots=True)
class _Flight:
    task: asyncio.Task[Any]
    waiting: int = 0


class Flights:
    """Reads under way, by what is read; belongs to one event loop.

    Nothing is kept beyond the read: a failure reaches all who waited for it, and the next to ask reads again.
    """

    def __init__(self, joined: Counter) -> None:
        self._under_way: dict[str, _Flight] = {}
        self._joined = joined

    async def fly(self, key: str, read: Callable[[], Awaitable[T]]) -> T:
        """Return what ``read`` does, or what an earlier one of the same ``key`` that is under way will.

        One who goes away does not take the read from the others; the last one does, so that it can be broken off.
        """
        flight = self._under_way.get(key)
        if flight is None:
            flight = self._under_way[key] = _Flight(asyncio.create_task(self._land(key, read)))
            flight.task.add_done_callback(_look_at_failure)
        else:
            self._joined.inc()
        flight.waiting += 1
        try:
            found: T = await asyncio.shield(flight.task)
            return found
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                # who comes now must not board what is broken off
                self._under_way.pop(key, None)
                flight.task.cancel()

    async def _land(self, key: str, read: Callable[[], Awaitable[T]]) -> T:
        try:
            return await read()
        finally:
            # another may be under way by now, if this one was broken off
            flight = self._under_way.get(key)
            if flight is not None and flight.task is asyncio.current_task():
                del self._under_way[key]


def _look_at_failure(task: asyncio.Task[T]) -> None:
    """An exception that nobody waited for is none that asyncio need complain of."""
    if not task.cancelled():
        task.exception()
