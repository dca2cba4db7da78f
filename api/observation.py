"""What is noted of each request: its id, a line in the log, and metrics."""

import logging
import random
import re
import time
from collections.abc import Mapping
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.headers import REQUEST_ID, Fields, missing_defaults
from api.logs import note_answered, request_id, trace_id
from api.metrics import Metrics
from api.rate_limits import Standing
from api.tracing import annotate, id_of_trace

_HEADER = REQUEST_ID.lower().encode()
_SNAPSHOT = b"lakehouse-snapshot-id"
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
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        # the first of a name is the last that is put in its place
        sent = dict(reversed(list(scope["headers"])))
        identifier = _sane_id(sent.get(_HEADER)) or f"{random.getrandbits(128):032x}"
        # a dict of its own: the one that a server hands over may be that of all requests
        scope["state"] = {**scope.get("state", {}), "request_id": identifier, "headers": sent}
        token = request_id.set(identifier)
        trace_token = trace_id.set(id_of_trace(scope))
        answer = _Answer(send, scope)
        self._metrics.in_flight += 1
        status = CLIENT_GONE
        try:
            await self._app(scope, receive, answer)
        except Exception:
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            logger.exception("unexpected error")
            raise
        finally:
            self._metrics.in_flight -= 1
            self._note(scope, answer, answer.status or status)
            trace_id.reset(trace_token)
            request_id.reset(token)

    def _note(self, scope: Scope, answer: "_Answer", status: int) -> None:
        now = time.perf_counter()
        route = getattr(scope.get("route"), "path", None)
        begun = (answer.begun_at or now) - answer.started_at
        # a handshake of HTTP/1.1 is a GET (RFC 6455, section 4.1)
        method = scope.get("method", "GET")
        self._metrics.answered(route, method, status, begun)
        fields = {
            "method": method,
            "route": route,
            "status": status,
            "begun_ms": round(begun * 1000, 3),
            "duration_ms": round((now - answer.started_at) * 1000, 3),
            **(answer.read or _what_is_read(scope)),
            "sent_bytes": answer.sent_bytes,
        }
        if answer.close_code is not None:
            fields["close_code"] = answer.close_code
        note_answered(fields)


class _Answer:
    """Sends an answer on, with the headers that all have, and notes what it was and when it began."""

    def __init__(self, send: Send, scope: Scope) -> None:
        self._send = send
        self._scope = scope
        self.started_at = time.perf_counter()
        self.begun_at: float | None = None
        self.status: int | None = None
        self.read: Mapping[str, str | None] = {}
        self.sent_bytes = 0
        self.close_code: int | None = None
        """Why a WebSocket was closed from here."""

    async def __call__(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.body":
            self.sent_bytes += len(message.get("body", b""))
        elif kind in {"http.response.start", "websocket.http.response.start"}:
            self._begin(message["status"])
            message["headers"] = self._whole(message["headers"])
        elif kind == "websocket.accept":
            self._begin(HTTPStatus.SWITCHING_PROTOCOLS)
        elif kind == "websocket.close":
            self.close_code = message["code"]
        else:
            self.sent_bytes += len(message.get("body") or message.get("text") or b"")
        await self._send(message)

    def _whole(self, fields: Fields) -> Fields:
        """The header fields of the answer, with those that all have."""
        state = self._scope["state"]
        present = dict(fields)
        whole = [*fields, (_HEADER, state["request_id"].encode()), *missing_defaults(present)]
        standing: Standing | None = state.get("rate_limit")
        if standing is not None:
            whole += standing.headers
        self.read = _what_is_read(self._scope, present.get(_SNAPSHOT))
        # the span is over when the last of the answer is sent
        annotate(self._scope, state["request_id"], self.read)
        return whole

    def _begin(self, status: int) -> None:
        self.status = status
        self.begun_at = time.perf_counter()
        self._scope["state"]["begun"] = True


def _what_is_read(scope: Scope, snapshot: bytes | None = None) -> dict[str, str | None]:
    """Who reads what, and from which snapshot, as far as it is known."""
    state = scope["state"]
    action, table = state.get("access", (None, None))
    return {
        "key_id": state.get("key_id"),
        "action": action,
        "table": table,
        "snapshot_id": None if snapshot is None else snapshot.decode(),
    }


def _sane_id(sent: bytes | None) -> str | None:
    """The id that the client has given its request, if it is one."""
    return sent.decode() if sent is not None and _SANE.fullmatch(sent) else None
