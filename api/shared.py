"""One load for all that ask at the same time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """A value that is loaded once for all who wait for it and kept for ``keep_s`` seconds.

    A failed load is not kept: all who waited get its exception, the next to ask tries again. Belongs to one
    event loop.
    """

    def __init__(self, load: Callable[[], Awaitable[T]], *, keep_s: float) -> None:
        self._load = load
        self._keep_s = keep_s
        self._loading: asyncio.Task[T] | None = None
        self._value: T
        self._expires = float("-inf")

    async def get(self) -> T:
        """Return the value, loaded now unless it is fresh or on its way."""
        if time.monotonic() < self._expires:
            return self._value
        if self._loading is None:
            self._loading = asyncio.create_task(self._reload())
        # one who goes away must not take the load from the others
        return await asyncio.shield(self._loading)

    async def _reload(self) -> T:
        try:
            self._value = await self._load()
            self._expires = time.monotonic() + self._keep_s
            return self._value
        finally:
            self._loading = None
