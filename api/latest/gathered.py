"""Reads of single entries, gathered: all that come while one question is under way make the next."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

Entries = Mapping[str, bytes | None]
ReadAll = Callable[[Sequence[str]], Awaitable[Sequence[bytes | None]]]


class GatheredReads:
    """Asks once for what many wait for, one question after the other; belongs to one event loop.

    The idea is that of group commit (DeWitt et al., Implementation techniques for main memory database systems,
    1984, section 5.2): alone nobody waits for company, and the more there are, the less each costs.
    """

    def __init__(self, read: ReadAll) -> None:
        self._read = read
        self._keys: dict[str, None] = {}
        """Of the next question, each once."""
        self._next: asyncio.Task[Entries] | None = None
        self._under_way: asyncio.Task[Entries] | None = None

    async def get(self, key: str) -> bytes | None:
        """The entry of ``key``, ``None`` where there is none; what ``read`` raises reaches all that it was for."""
        self._keys[key] = None
        if self._next is None:
            self._next = asyncio.create_task(self._ask(self._under_way))
        # one that goes away leaves the others what they wait for
        return (await asyncio.shield(self._next))[key]

    async def _ask(self, before: "asyncio.Task[Entries] | None") -> Entries:
        if before is not None and not before.done():
            await asyncio.wait([before])
        keys = list(self._keys)
        self._keys, self._under_way, self._next = {}, self._next, None
        return dict(zip(keys, await self._read(keys), strict=True))
