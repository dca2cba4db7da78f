"""Time limits of reads: one that takes too long is stopped, not only given up."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from anyio import CancelScope, CapacityLimiter, to_thread

from api.problems import UnavailableError

T = TypeVar("T")

logger = logging.getLogger(__name__)


class QueryTimeoutError(UnavailableError):
    """A query took too long, and was stopped."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"the query took longer than {seconds:g} s and was stopped: ask for less time, fewer sensors or fewer "
            "columns, or try again later"
        )


class ReadCancelledError(Exception):
    """The read that runs in this thread is not wanted any more."""


class Deadline:
    """Stops one read, which looks at it from time to time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._passed = False
        self._interrupts: list[Callable[[], None]] = []

    def check(self) -> None:
        """Go on, or not.

        Raises:
            ReadCancelledError: the read is to stop.
        """
        if self._passed:
            raise ReadCancelledError

    def cancel(self) -> None:
        """Stop the read; from any thread."""
        with self._lock:
            self._passed = True
            for interrupt in self._interrupts:
                interrupt()

    @contextmanager
    def interrupting(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """Have ``interrupt`` called, from another thread, if the read is to stop while this lasts.

        Raises:
            ReadCancelledError: it is to stop already.
        """
        with self._lock:
            self.check()
            self._interrupts.append(interrupt)
        try:
            yield
        finally:
            with self._lock:
                self._interrupts.remove(interrupt)


_deadline: ContextVar[Deadline | None] = ContextVar("deadline", default=None)
"""Of the read that runs in this thread."""


async def run_in_thread(function: Callable[[], T], *, limiter: CapacityLimiter, seconds: float) -> T:
    """Run ``function`` in one of the threads of ``limiter``, which it holds until it has stopped.

    It stops where it calls :func:`check_deadline`, or in what :func:`interrupted_by_deadline` can interrupt: when
    the time is over, which the wait for a thread belongs to, or when the caller is cancelled.

    Raises:
        QueryTimeoutError: the time is over.
    """
    deadline = Deadline()

    def run() -> T:
        _deadline.set(deadline)
        deadline.check()
        return function()

    work = asyncio.create_task(to_thread.run_sync(run, limiter=limiter))
    try:
        done, _ = await asyncio.wait({work}, timeout=seconds)
    except asyncio.CancelledError:
        deadline.cancel()
        with CancelScope(shield=True):
            await asyncio.wait({work})
        raise
    if not done:
        deadline.cancel()
        # what it still raises is that it was stopped
        work.add_done_callback(lambda work: work.cancelled() or work.exception())
        logger.warning("a query took longer than %g s: it is stopped", seconds)
        raise QueryTimeoutError(seconds)
    return work.result()


def check_deadline() -> None:
    """Go on, or not: called between two pieces of work.

    Raises:
        ReadCancelledError: the read is to stop.
    """
    if current := _deadline.get():
        current.check()


@contextmanager
def interrupted_by_deadline(interrupt: Callable[[], None]) -> Iterator[None]:
    """Have ``interrupt`` called, from another thread, if the read is to stop while this lasts.

    Raises:
        ReadCancelledError: it is to stop already.
    """
    if (current := _deadline.get()) is None:
        yield
        return
    with current.interrupting(interrupt):
        yield
