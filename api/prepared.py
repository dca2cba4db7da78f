"""Requests that came before: what routing, dependencies and validation have made of them is not made again.

As a database prepares a statement once and runs it often. What is kept of a request is a function that answers
another one like it: with the same path, query and ``Accept``, on which alone it may depend, besides what it reads
when it runs. Who sends the request and what he may is never kept: :mod:`api.access` looks at both each time.
"""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from cachetools import LRUCache
from fastapi import Request, Response
from starlette.types import Scope

from api.headers import sent_headers
from resources.api_keys import Action

MOST_BYTES = 16 << 20
"""Of memory, about: some 30,000 sensors, or 1,000 queries with three filters."""
MOST_TARGET_BYTES = 1_024
"""A request with a longer address is not kept."""
REQUEST_BYTES = 500
QUERY_BYTES = 120
"""Memory that a request takes, and each byte of its query: a filter becomes a dozen objects."""

Answer = Callable[[Request], Awaitable[Response]]
Target = tuple[str, bytes, bytes]
"""Path, query and ``Accept``."""


class Prepared(NamedTuple):
    """How requests like one are answered, and what they need permission for."""

    route: Any
    """That which FastAPI chose."""
    action: Action
    table: str
    answer: Answer
    size: int
    """In memory, in bytes, about."""


class PreparedRequests:
    """Remembers the requests that came last; belongs to one event loop."""

    def __init__(self) -> None:
        self._kept: LRUCache[Target, Prepared] = LRUCache(MOST_BYTES, getsizeof=lambda kept: kept.size)

    def find(self, scope: Scope) -> Prepared | None:
        """What was prepared for a request like this one, if anything was."""
        target = _target(scope)
        return None if target is None else self._kept.get(target)

    async def answer(self, request: Request, answer: Answer, remembers_bytes: int) -> Response:
        """Answer a request that was validated and permitted, and keep how for those like it.

        Args:
            request: the first of them.
            answer: answers each.
            remembers_bytes: memory that ``answer`` takes from the first on, about.
        """
        target = _target(request.scope)
        if target is not None and sum(map(len, target)) <= MOST_TARGET_BYTES:
            action, table = request.state.access
            size = REQUEST_BYTES + QUERY_BYTES * len(target[1]) + remembers_bytes
            self._kept[target] = Prepared(request.scope["route"], action, table, answer, size)
        return await answer(request)


def _target(scope: Scope) -> Target | None:
    """What requests like this one have; ``None`` where none is taken for another."""
    sent = sent_headers(scope)
    # of a field that is there more than once, as Accept may be, only the first is looked at here
    if scope["method"] != "GET" or len(sent) != len(scope["headers"]):
        return None
    return scope["path"], scope["query_string"], sent.get(b"accept", b"")


async def answer_prepared(request: Request, answer: Answer, *, remembers_bytes: int = 0) -> Response:
    """As :meth:`PreparedRequests.answer`, with those of the application."""
    prepared: PreparedRequests = request.app.state.prepared
    return await prepared.answer(request, answer, remembers_bytes)
