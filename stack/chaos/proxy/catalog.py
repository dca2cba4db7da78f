"""A proxy of the REST catalog that counts the commits of Flink and lets a fault answer some of them."""

import asyncio
import logging
from collections import Counter

import h11
import httpx

from stack.chaos.proxy.commits import FlinkCommit, flink_commit
from stack.chaos.proxy.faults import Fault
from stack.chaos.proxy.http import Answer, Message, Upstream, encode_answer, read_request

logger = logging.getLogger(__name__)


class CatalogProxy:
    """Serves HTTP connections in the event loop; :meth:`arm` and the counters are for other threads.

    ``upstream`` may be changed at any time: the next request goes there.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self._behind = Upstream()
        self._fault: Fault | None = None
        self._landed: Counter[str] = Counter()

    def arm(self, fault: Fault | None) -> None:
        """Let ``fault`` answer the commits that it wants; ``None`` lets all pass."""
        self._fault = fault

    def landed(self, table: str) -> int:
        """Commits of Flink to ``table`` that the other side has taken so far."""
        return self._landed[table]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        connection = h11.Connection(h11.SERVER)
        try:
            while (request := await read_request(connection, reader)) is not None:
                answer = await self._answer(request)
                if answer is None:
                    writer.transport.abort()
                    return
                writer.write(encode_answer(connection, request, answer))
                await writer.drain()
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    return
                connection.start_next_cycle()
        except (h11.RemoteProtocolError, ConnectionError) as error:
            # a client that was killed in the middle of a request
            logger.info("a client went away: %s", error)
        finally:
            writer.close()

    async def aclose(self) -> None:
        """End the connections to the other side."""
        await self._behind.aclose()

    async def _answer(self, request: Message) -> Answer | None:
        commit = flink_commit(request)
        fault = self._fault
        try:
            if commit is not None and fault is not None and fault.wants(commit):
                return await fault.answer(commit, lambda: self._forward(request, commit))
            return await self._forward(request, commit)
        except httpx.TransportError as error:
            logger.info("%s did not answer: %s", self.upstream, error)
            return None

    async def _forward(self, request: Message, commit: FlinkCommit | None) -> Answer:
        answer = await self._behind.send(self.upstream, request)
        if commit is not None and answer.status < 300:
            self._landed[commit.table] += 1
        return answer
