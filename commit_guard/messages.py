"""HTTP messages between client and catalog: which headers go on, and answers that the guard gives itself."""

from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeAlias

import httpx
import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

RawHeaders: TypeAlias = list[tuple[bytes, bytes]]

RETRY_AFTER_S = 5
"""Seconds that a client is asked to wait for the catalog: about what its restart takes."""

_HOP_BY_HOP = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request as the client sent it; ``path`` is percent-encoded and ``target`` adds the query."""

    method: str
    path: bytes
    query: bytes
    headers: RawHeaders
    content: bytes

    @property
    def target(self) -> bytes:
        """Path and query."""
        return self.path + b"?" + self.query if self.query else self.path


def end_to_end(headers: Iterable[tuple[bytes, bytes]], *, without: frozenset[bytes] = frozenset()) -> RawHeaders:
    """Leave out what concerns one connection only (RFC 9110, section 7.6.1), and the names in ``without``."""
    fields = list(headers)
    named = {
        option.strip().lower()
        for name, value in fields
        if name.lower() == b"connection"
        for option in value.split(b",")
    }
    dropped = _HOP_BY_HOP | named | without
    return [(name, value) for name, value in fields if name.lower() not in dropped]


def whole_response(answer: httpx.Response, content: bytes) -> Response:
    """Answer as the catalog did, with ``content`` for the body, which is not compressed."""
    response = Response(content, answer.status_code)
    own = end_to_end(answer.headers.raw, without=frozenset({b"content-encoding", b"content-length"}))
    # no body has no length to state: 204 must not carry one
    length = [field for field in response.raw_headers if field[0] == b"content-length"]
    response.raw_headers = own + length
    return response


def json_response(status: int, document: object) -> Response:
    """Answer with a JSON document."""
    return Response(orjson.dumps(document), status, media_type="application/json")


def error_response(status: HTTPStatus, kind: str, message: str) -> Response:
    """Answer with an ``IcebergErrorResponse``; a 503 says when to come again."""
    response = json_response(status, {"error": {"message": message, "type": kind, "code": status.value}})
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


class StreamedResponse:
    """An ASGI response that hands the catalog's answer on as it comes, in the bytes that came."""

    def __init__(self, answer: httpx.Response) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; closes the answer, also when the client goes away."""
        headers = end_to_end(self._answer.headers.raw)
        try:
            await send({"type": "http.response.start", "status": self._answer.status_code, "headers": headers})
            async for chunk in self._answer.aiter_raw():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await self._answer.aclose()
