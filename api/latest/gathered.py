"""Reads of single entries, gathered: all that come while one question is under way make the next."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

Waiting = Mapping[str, list[asyncio.Future[bytes | None]]]
"""Who waits for which entry."""
ReadAll = Callable[[Sequence[str]], Awaitable[Sequence[bytes | None]]]


class GatheredReads:
    """Asks once for what many wait for, one question after the other; belongs to one event loop.

    The idea is that of group commit (DeWitt et al., Implementation techniques for main memory database systems,
    1984, section 5.2): alone nobody waits for company, and the more there are, the less each costs.
    """

    def __init__(self, read: ReadAll) -> None:
        self._read = read
        self._waiting: dict[str, list[asyncio.Future[bytes | None]]] = {}
        """For the next question."""
        self._asking: asyncio.Task[None] | None = None

    async def get(self, key: str) -> bytes | None:
        """The entry of ``key``, ``None`` where there is none; what ``read`` raises reaches all that it was for."""
        # each has a future of its own: one that goes away leaves the others what they wait for
        entry: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(entry)
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        return await entry

    async def _ask(self) -> None:
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, {}
                await self._answer(waiting)
        finally:
            self._asking = None

    async def _answer(self, waiting: Waiting) -> None:
        try:
            answers = list(zip(waiting.values(), await self._read(list(waiting)), strict=True))
        except Exception as error:  # noqa: BLE001  who waits gets it
            for futures in waiting.values():
                for future in _not_gone(futures):
                    future.set_exception(error)
            return
        for futures, entry in answers:
            for future in _not_gone(futures):
                future.set_result(entry)


def _not_gone(futures: list[asyncio.Future[bytes | None]]) -> list[asyncio.Future[bytes | None]]:
    return [future for future in futures if not future.done()]
