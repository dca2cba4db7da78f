"""Answers whose header fields are bytes from the start: those that come often are not encoded again for each."""

from datetime import datetime
from functools import lru_cache
from http import HTTPStatus

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.headers import Fields


def instant(value: datetime) -> bytes:
    """Write an instant in UTC as RFC 3339 has it, in a third of the time that ``isoformat`` takes."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z)[1:-1]


class EncodedResponse(Response):
    """A whole body, with header fields whose names are in lower case."""

    def __init__(
        self, body: bytes, fields: Fields, *, media_type: str | None = None, status: int = HTTPStatus.OK
    ) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        self.raw_headers = list(fields)
        if status != HTTPStatus.NOT_MODIFIED:
            self.raw_headers.append((b"content-length", b"%d" % len(body)))
        if media_type is not None:
            self.raw_headers.append((b"content-type", _content_type(media_type)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it: for HTTP, and without anything to do afterwards."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body})


@lru_cache(maxsize=64)
def _content_type(media_type: str) -> bytes:
    """As Starlette writes it."""
    return Response(media_type=media_type).headers["content-type"].encode("latin-1")
