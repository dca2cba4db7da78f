"""Answers whose header fields are bytes from the start: those that come often are not encoded again for each."""

from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus

from starlette.responses import Response

from api.headers import Fields


def encode(headers: Mapping[str, str]) -> Fields:
    """Write header fields as they are sent."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


class EncodedResponse(Response):
    """A whole body, with header fields as :func:`encode` writes them."""

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


@lru_cache(maxsize=64)
def _content_type(media_type: str) -> bytes:
    """As Starlette writes it."""
    return Response(media_type=media_type).headers["content-type"].encode("latin-1")
