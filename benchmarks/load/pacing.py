"""When requests are due, and what became of their times."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

PERCENTILES = (50, 90, 99, 99.9)


class Pacing(Protocol):
    """Says when requests are due; times are those of one clock, in seconds."""

    def take(self, now: float) -> float | None:
        """When the next request was due, which counts as sent now; ``None`` where none is due yet, or no more."""

    def next_at(self) -> float | None:
        """When the next request is due; ``None`` where there is none any more."""


class Closed:
    """A request is due whenever a connection is free, until ``end``."""

    def __init__(self, end: float) -> None:
        self._end = end
        self._over = False

    def take(self, now: float) -> float | None:
        """The time now, until the end."""
        self._over = now >= self._end
        return None if self._over else now

    def next_at(self) -> float | None:
        """There is always one until the end, which :meth:`take` has seen."""
        return None if self._over else self._end


class Open:
    """``total`` requests, ``rate`` a second, due whether or not those before were answered.

    A time that counted from the sending would leave out how long a request waits for a server that has stopped
    ("coordinated omission"); https://github.com/giltene/wrk2 explains it, and counts from when it is due as well.
    """

    def __init__(self, start: float, rate: float, total: int) -> None:
        self._start = start
        self._rate = rate
        self._total = total
        self._taken = 0

    def take(self, now: float) -> float | None:
        """When the next one was due, if it is."""
        due = self.next_at()
        if due is None or due > now:
            return None
        self._taken += 1
        return due

    def next_at(self) -> float | None:
        """Its place in the schedule."""
        return None if self._taken == self._total else self._start + self._taken / self._rate


def milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    """Percentiles and the maximum of times, by the names of :class:`benchmarks.load.plan.LoadResult`.

    Raises:
        ValueError: there is none.
    """
    if not seconds:
        raise ValueError("no time was measured")
    times = np.asarray(seconds) * 1000
    found = dict(zip(("p50_ms", "p90_ms", "p99_ms", "p999_ms"), np.percentile(times, PERCENTILES), strict=True))
    return {name: round(float(value), 3) for name, value in {**found, "max_ms": times.max()}.items()}
