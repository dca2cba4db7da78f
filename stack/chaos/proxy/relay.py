"""A relay of TCP connections to S3 that can refuse, reset and stall them.

It works below HTTP, because an S3 request is signed with its headers and must arrive as it was sent.
"""

import asyncio
import socket
import struct
from enum import StrEnum
from urllib.parse import urlsplit

from stack.chaos.proxy.http import CHUNK

_SLOW_DOWN_BODY = b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Reduce your rate</Message></Error>'
_SLOW_DOWN = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_SLOW_DOWN_BODY), _SLOW_DOWN_BODY)
)
_END_OF_HEAD = b"\r\n\r\n"


class Mode(StrEnum):
    """What happens to bytes that clients send."""

    PASS = "pass"  # noqa: S105 - no password
    UNAVAILABLE = "unavailable"
    """Each request is answered 503."""
    RESET = "reset"
    """Connections are reset as soon as something comes."""
    STALL = "stall"
    """Nothing goes on, and nothing comes back."""


class Relay:
    """Serves TCP connections in the event loop; ``mode`` and :meth:`struck` are for other threads."""

    def __init__(self, upstream: str) -> None:
        address = urlsplit(upstream)
        self._host, self._port = address.hostname, address.port
        self.mode = Mode.PASS
        self._struck = dict.fromkeys(Mode, 0)

    def struck(self, mode: Mode) -> int:
        """How many times a connection met ``mode``."""
        return self._struck[mode]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection until either side ends it."""
        try:
            behind_reader, behind_writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()  # S3 is away
            return
        answers = asyncio.create_task(_copy(behind_reader, writer))
        try:
            await self._requests(reader, writer, behind_writer)
        except ConnectionError:
            writer.transport.abort()
        finally:
            behind_writer.close()
            await asyncio.gather(answers, return_exceptions=True)
            writer.close()

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, behind: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(CHUNK):
            mode = self.mode
            self._struck[mode] += 1
            match mode:
                case Mode.PASS:
                    behind.write(data)
                    await behind.drain()
                case Mode.UNAVAILABLE:
                    await _read_head(reader, data)
                    writer.write(_SLOW_DOWN)
                    await writer.drain()
                    return
                case Mode.RESET:
                    _reset(writer)
                    return
                case Mode.STALL:
                    await self._stall()
                    # the client has long given up on this connection
                    writer.transport.abort()
                    return

    async def _stall(self) -> None:
        while self.mode is Mode.STALL:
            await asyncio.sleep(0.1)


def _reset(writer: asyncio.StreamWriter) -> None:
    # closed with nothing to linger for, a connection ends with RST instead of FIN
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _read_head(reader: asyncio.StreamReader, data: bytes) -> None:
    while _END_OF_HEAD not in data and (more := await reader.read(CHUNK)):
        data += more


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        return
    finally:
        writer.close()
