"""What a catalog proxy does to a commit of Flink; each fault strikes once and tells when it did."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Protocol

from stack.chaos.proxy.commits import FlinkCommit
from stack.chaos.proxy.http import Answer

HOLD_LIMIT_S = 240.0
"""A held commit goes on by itself afterwards, so that a scenario that fails leaves nothing hanging."""

Forward = Callable[[], Awaitable[Answer]]


class Fault(Protocol):
    """A fault of commits to one table."""

    def wants(self, commit: FlinkCommit) -> bool:
        """Whether it strikes this commit; asked once for each."""
        ...

    async def answer(self, commit: FlinkCommit, forward: Forward) -> Answer | None:
        """Answer in the catalog's place; ``None`` ends the connection without an answer.

        ``forward`` hands the commit on and returns what the catalog says.
        """
        ...


class _Once:
    """Strikes the first commit to ``table``; ``struck`` is set when the fault has run its course."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._taken = False
        self.struck = threading.Event()

    def wants(self, commit: FlinkCommit) -> bool:
        """Whether this is the first commit to the table."""
        if self._taken or commit.table != self._table:
            return False
        self._taken = True
        return True


class DropAnswer(_Once):
    """The commit takes place, and its answer is lost with the connection."""

    async def answer(self, _commit: FlinkCommit, forward: Forward) -> Answer | None:
        """Forward and end the connection."""
        await forward()
        self.struck.set()
        return None


class DelayAnswer(_Once):
    """The commit takes place, and its answer comes ``seconds`` later."""

    def __init__(self, table: str, seconds: float) -> None:
        super().__init__(table)
        self._seconds = seconds

    async def answer(self, _commit: FlinkCommit, forward: Forward) -> Answer | None:
        """Forward, wait, answer."""
        answer = await forward()
        await asyncio.sleep(self._seconds)
        self.struck.set()
        return answer


class ServiceUnavailable(_Once):
    """The commit takes place, and the answer is 503."""

    def __init__(self, table: str, *, retry_after_s: int | None) -> None:
        super().__init__(table)
        self._retry_after_s = retry_after_s

    async def answer(self, _commit: FlinkCommit, forward: Forward) -> Answer | None:
        """Forward and answer 503."""
        await forward()
        self.struck.set()
        headers = [(b"Content-Type", b"application/json")]
        if self._retry_after_s is not None:
            headers.append((b"Retry-After", b"%d" % self._retry_after_s))
        body = b'{"error":{"message":"overloaded","type":"ServiceUnavailableException","code":503}}'
        return Answer(503, headers, body)


class HoldUntilReleased(_Once):
    """The commit waits in front of the catalog until :meth:`release`; ``held`` is set while it does."""

    def __init__(self, table: str) -> None:
        super().__init__(table)
        self.held = threading.Event()
        self._released = threading.Event()

    def release(self) -> None:
        """Let the commit through."""
        self._released.set()

    async def answer(self, _commit: FlinkCommit, forward: Forward) -> Answer | None:
        """Wait, then forward."""
        self.held.set()
        await asyncio.to_thread(self._released.wait, HOLD_LIMIT_S)
        answer = await forward()
        self.struck.set()
        return answer


class HoldUntilRepeated:
    """The commit waits until the same checkpoint comes again, then lands just before the repetition.

    By then the restarted job has looked at the table and found its checkpoint missing: what it sends is the
    commit that doubles rows (apache/iceberg#14425). ``held`` is set while the first waits, ``struck`` once the
    first has landed, and ``first_status`` is what the catalog said to it.
    """

    def __init__(self, table: str) -> None:
        self._table = table
        self._first: FlinkCommit | None = None
        self._repeated = asyncio.Event()
        self._landed = asyncio.Event()
        self.held = threading.Event()
        self.struck = threading.Event()
        self.first_status: int | None = None

    def wants(self, commit: FlinkCommit) -> bool:
        """Whether this is the first commit to the table, or that checkpoint once more."""
        return commit == self._first if self._first is not None else commit.table == self._table

    async def answer(self, commit: FlinkCommit, forward: Forward) -> Answer | None:
        """Hold the first; forward a repetition once the first has landed."""
        if self._first is not None:
            self._repeated.set()
            await self._landed.wait()
            return await forward()
        self._first = commit
        self.held.set()
        try:
            await asyncio.wait_for(self._repeated.wait(), HOLD_LIMIT_S)
            answer = await forward()
            self.first_status = answer.status
            self.struck.set()
            return answer
        finally:
            self._landed.set()
