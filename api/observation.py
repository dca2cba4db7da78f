"""What is noted of each request: its id, a line in the log, and metrics."""

import logging
import re
import secrets
import time
from collections.abc import Iterable
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.logs import ACCESS, FIELDS, request_id
from api.metrics import Metrics

REQUEST_ID = "X-Request-ID"
_HEADER = REQUEST_ID.lower().encode()
_SANE = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
"""Of an id that a client sends: what can stand in a header and in a line of a log as it is."""

CLIENT_GONE = 499
"""nginx' status of a request whose client did not wait for the answer."""

logger = logging.getLogger(__name__)


class Observation:
    """Middleware that gives each request an id, which its answer carries, and notes how it was answered."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identifier = _sent_id(scope["headers"]) or secrets.token_hex(16)
        # a dict of its own: the one that a server hands over may be that of all requests
        scope["state"] = {**scope.get("state", {}), "request_id": identifier}
        token = request_id.set(identifier)
        answer = _Answer(send, identifier)
        self._metrics.in_flight.inc()
        status = CLIENT_GONE
        try:
            await self._app(scope, receive, answer)
        except Exception:
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            logger.exception("unexpected error")
            raise
        finally:
            self._metrics.in_flight.dec()
            self._note(scope, answer, answer.status or status)
            request_id.reset(token)

    def _note(self, scope: Scope, answer: "_Answer", status: int) -> None:
        now = time.perf_counter()
        route = getattr(scope.get("route"), "path", None)
        begun = (answer.begun_at or now) - answer.started_at
        self._metrics.answered(route, scope["method"], status, begun)
        fields = {
            "method": scope["method"],
            "route": route,
            "status": status,
            "begun_ms": round(begun * 1000, 3),
            "duration_ms": round((now - answer.started_at) * 1000, 3),
            "key_id": scope["state"].get("key_id"),
        }
        ACCESS.info("answered", extra={FIELDS: fields})


class _Answer:
    """Sends an answer on, with the id of the request, and notes its status and when it began."""

    def __init__(self, send: Send, identifier: str) -> None:
        self._send = send
        self._id = identifier.encode()
        self.started_at = time.perf_counter()
        self.begun_at: float | None = None
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.begun_at = time.perf_counter()
            message["headers"] = [*message["headers"], (_HEADER, self._id)]
        await self._send(message)


def _sent_id(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The id that the client has given its request, if it is one."""
    for name, value in headers:
        if name == _HEADER and _SANE.fullmatch(value):
            return value.decode()
    return None
