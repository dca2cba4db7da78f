"""Finished answers: in the process, shared by Redis, and otherwise made once for all that ask at the same time."""

from collections.abc import Awaitable, Callable
from functools import partial

from api.caching.byte_cache import ByteCache
from api.caching.flights import Flights
from api.caching.metrics import Counted
from api.caching.page import Page
from api.caching.shared_answers import SharedAnswers

PAGE_BYTES = 512
"""Memory that an answer takes beside its body."""

Read = Callable[[], Awaitable[Page]]


class Answers:
    """Answers by a name that stands for all that they depend on; belongs to one event loop.

    Who may have them is not asked here: that is the route's, before it asks for one.
    """

    def __init__(self, budget: int, counted: Counted, shared: SharedAnswers, flights: Flights) -> None:
        self._kept: ByteCache[str, Page] = ByteCache(budget, size=_size, counted=counted)
        self._shared = shared
        self._flights = flights

    async def get(self, name: str, read: Read) -> Page:
        """The answer ``name``, made by ``read`` if there is none."""
        kept = self._kept.get(name)
        return kept if kept is not None else await self._flights.fly(name, partial(self._fetch, name, read))

    async def _fetch(self, name: str, read: Read) -> Page:
        page = await self._shared.get(name)
        if page is None:
            page = await read()
            self._shared.put_soon(name, page)
        self._kept.put(name, page)
        return page


def _size(page: Page) -> int:
    return PAGE_BYTES + len(page.body) if isinstance(page.body, bytes) else 0
