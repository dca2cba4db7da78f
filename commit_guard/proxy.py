"""The way through the guard, as an ASGI application: commits of Flink are judged, all else goes through."""

import asyncio
import logging

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from commit_guard.commits import parse_commit
from commit_guard.guard import CommitGuard, upstream_error_response
from commit_guard.messages import Incoming, StreamedResponse, whole_response
from commit_guard.upstream import Upstream, UpstreamError

logger = logging.getLogger(__name__)

CONFIG_PATH = b"/v1/config"


class Proxy:
    """Answers every request that is not the guard's own."""

    def __init__(self, upstream: Upstream, guard: CommitGuard) -> None:
        self._upstream = upstream
        self._guard = guard
        self._under_way: set[asyncio.Task[Response]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope, receive)
        try:
            content = await request.body()
        except ClientDisconnect:
            return  # half a request: nobody is there to answer
        incoming = Incoming(
            method=request.method,
            path=scope["raw_path"],
            query=scope["query_string"],
            headers=[(name, value) for name, value in scope["headers"]],
            content=content,
        )
        response = await self._respond(incoming)
        await response(scope, receive, send)

    async def finish(self) -> None:
        """Wait for the commits that are under way."""
        if self._under_way:
            await asyncio.wait(self._under_way)

    async def _respond(self, incoming: Incoming) -> Response | StreamedResponse:
        if incoming.method == "POST" and (commit := parse_commit(incoming.path, incoming.content)) is not None:
            task = asyncio.create_task(self._guard.answer(incoming, commit))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            # a client that goes away must not end a commit half-way
            return await asyncio.shield(task)
        try:
            if incoming.method == "GET" and incoming.path == CONFIG_PATH:
                return await self._config(incoming)
            return StreamedResponse(await self._upstream.send(incoming))
        except UpstreamError as error:
            logger.warning("%s %s failed: %s", incoming.method, incoming.path.decode(errors="replace"), error)
            return upstream_error_response(error.status, error)

    async def _config(self, incoming: Incoming) -> Response:
        answer = await self._upstream.send(incoming)
        return whole_response(answer, without_uri(await self._upstream.read(answer)))


def without_uri(config: bytes) -> bytes:
    """Take ``uri`` out of a ``ConfigResponse``: it would lead the client around the guard."""
    try:
        document = orjson.loads(config)
        parts = [part for name in ("defaults", "overrides") if "uri" in (part := document.get(name) or {})]
    except (ValueError, AttributeError, TypeError):
        return config  # an error's body, or nothing of the spec
    for part in parts:
        del part["uri"]
    return orjson.dumps(document) if parts else config
