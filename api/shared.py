"""One load for all that ask at the same time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")

REFRESHED_AFTER = 0.75
"""Share of a value's time after which the next one is loaded while it is still handed out."""


class Shared(Generic[T]):
    """A value that is loaded once for all who wait for it and kept for ``keep_s`` seconds.

    Who asks in the last part of that time gets the value at once and has the next one loaded, so that nobody
    waits for what is asked for all the time. A failed load is not kept: all who waited get its exception, the next
    to ask tries again. Belongs to one event loop.
    """

    def __init__(self, load: Callable[[], Awaitable[T]], *, keep_s: float) -> None:
        self._load = load
        self._keep_s = keep_s
        self._loading: asyncio.Task[T] | None = None
        self._value: T
        self._refreshes = self._expires = float("-inf")

    @property
    def held(self) -> T | None:
        """The value while none has to be loaded, for who must not wait."""
        return self._value if time.monotonic() < self._refreshes else None

    async def get(self) -> T:
        """Return the value, loaded now unless it is fresh or on its way."""
        now = time.monotonic()
        if now < self._refreshes:
            return self._value
        if self._loading is None:
            self._loading = asyncio.create_task(self._reload())
            self._loading.add_done_callback(_seen)
        if now < self._expires:
            return self._value
        # one who goes away must not take the load from the others
        return await asyncio.shield(self._loading)

    async def _reload(self) -> T:
        try:
            self._value = await self._load()
            loaded = time.monotonic()
            self._refreshes, self._expires = loaded + REFRESHED_AFTER * self._keep_s, loaded + self._keep_s
            return self._value
        finally:
            self._loading = None


def _seen(loading: "asyncio.Task[T]") -> None:
    """Take notice of a failure that nobody waited for: the value held on, and the next to ask tries again."""
    if not loading.cancelled():
        loading.exception()
