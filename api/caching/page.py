"""What is made of a query, whoever sent it."""

from collections.abc import Generator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of one snapshot, in the format that was asked for; without ``next_cursor`` there is no further page.

    Of JSON the body is the object without what an envelope says of the moment, so that it stays right. A body in
    pieces is read while it is sent.
    """

    body: bytes | Generator[bytes, None, None]
    has_more: bool
    next_cursor: str | None = None
