"""Answers that are sent while they are read."""

import asyncio
import logging
from collections.abc import AsyncIterator, Generator
from contextlib import suppress

from fastapi.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from api.catalog import CatalogReader
from api.headers import Fields

STALLED_S = 60.0
"""How long a client may take none of an answer: it holds memory and a place that others wait for."""
SENT_BYTES = 1 << 18
"""Most that is handed to the server at once: with the time above, the slowest client that is served."""

logger = logging.getLogger(__name__)


class StreamedAnswer(StreamingResponse):
    """Sends pieces, each read in one of the reader's threads, and reads no further once the client is gone.

    An answer that cannot be finished ends without its end, upon which the server breaks the connection off: what
    fails later than the first piece has no status left to say so.
    """

    def __init__(
        self,
        reader: CatalogReader,
        pieces: Generator[bytes, None, None],
        *,
        media_type: str,
        fields: Fields,
    ) -> None:
        super().__init__(self._parts(), media_type=media_type, headers={"X-Accel-Buffering": "no"})
        self.raw_headers += fields
        self._reader = reader
        self._pieces = pieces
        self._piece: bytes | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer.

        Raises:
            TooManyStreamsError: as many answers are being streamed as may be.
            CatalogUnavailableError: the object store does not answer.
            QueryTimeoutError: a piece took too long.
        """
        with self._reader.streaming():
            try:
                # before anything is sent: what fails here still becomes a problem document
                self._piece = await self._next()
                await super().__call__(scope, receive, send)
            finally:
                # one that is still read, as it took too long, ends where it is stopped
                with suppress(ValueError):
                    self._pieces.close()

    async def stream_response(self, send: Send) -> None:
        """Send all pieces, or as many as the client takes."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(STALLED_S):
                await send(message)

        try:
            await super().stream_response(send_in_time)
        except TimeoutError:
            logger.warning("a client took nothing of an answer for %g s: it is broken off", STALLED_S)

    async def _parts(self) -> AsyncIterator[bytes]:
        while self._piece is not None:
            for start in range(0, len(self._piece), SENT_BYTES):
                yield self._piece[start : start + SENT_BYTES]
            self._piece = await self._next()

    async def _next(self) -> bytes | None:
        return await self._reader.read(lambda: next(self._pieces, None))
