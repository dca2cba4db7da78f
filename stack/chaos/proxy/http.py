"""HTTP/1.1 as the catalog proxy speaks it: whole requests in, whole answers out, headers as they came."""

import asyncio
from dataclasses import dataclass, field

import h11
import httpx

Headers = list[tuple[bytes, bytes]]

CHUNK = 1 << 16
UPSTREAM_TIMEOUT_S = 600.0

_HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"})
_REQUEST_OWN = _HOP_BY_HOP | {b"host", b"content-length", b"expect"}


@dataclass(frozen=True, slots=True)
class Message:
    """A request; ``target`` is the path and query in the client's bytes."""

    method: bytes
    target: bytes
    headers: Headers
    content: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, its body as it was encoded."""

    status: int
    headers: Headers = field(default_factory=list)
    content: bytes = b""


async def read_request(connection: h11.Connection, stream: asyncio.StreamReader) -> Message | None:
    """Read the next request; ``None`` once the client has ended the connection.

    Raises:
        h11.RemoteProtocolError: what came is not HTTP, or ends in the middle of a request.
    """
    head: h11.Request | None = None
    content = bytearray()
    while True:
        event = connection.next_event()
        match event:
            case h11.NEED_DATA:
                connection.receive_data(await stream.read(CHUNK))
            case h11.Request():
                head = event
            case h11.Data():
                content += event.data
            case h11.EndOfMessage() if head is not None:
                return Message(head.method, head.target, head.headers.raw_items(), bytes(content))
            case _:
                return None


def encode_answer(connection: h11.Connection, request: Message, answer: Answer) -> bytes:
    """The bytes of ``answer`` to ``request``."""
    headers = [(name, value) for name, value in answer.headers if name.lower() not in _HOP_BY_HOP]
    if request.method != b"HEAD":
        headers = [(name, value) for name, value in headers if name.lower() != b"content-length"]
        headers.append((b"Content-Length", b"%d" % len(answer.content)))
    parts = [connection.send(h11.Response(status_code=answer.status, headers=headers))]
    if answer.content and request.method != b"HEAD":
        parts.append(connection.send(h11.Data(answer.content)))
    parts.append(connection.send(h11.EndOfMessage()))
    return b"".join(part for part in parts if part)


class Upstream:
    """What is behind a proxy."""

    def __init__(self) -> None:
        self._client = httpx.AsyncClient(timeout=UPSTREAM_TIMEOUT_S, trust_env=False)

    async def send(self, base: str, message: Message) -> Answer:
        """Hand ``message`` on to ``base`` and return the answer.

        Raises:
            httpx.TransportError: no answer came.
        """
        request = httpx.Request(
            message.method.decode(),
            base,
            headers=[(name, value) for name, value in message.headers if name.lower() not in _REQUEST_OWN],
            content=message.content,
            extensions={"target": message.target},
        )
        response = await self._client.send(request, stream=True)
        try:
            content = b"".join([chunk async for chunk in response.aiter_raw()])
        finally:
            await response.aclose()
        return Answer(response.status_code, list(response.headers.raw), content)

    async def aclose(self) -> None:
        """End the connections."""
        await self._client.aclose()
