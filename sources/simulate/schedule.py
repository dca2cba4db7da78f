"""When which sensor reports."""

from dataclasses import dataclass

import numpy as np

from sources.simulate.fleet import Ints

BLOCK = 8192
"""Events that are generated together. Random numbers belong to a block, so its size is part of the result."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Reports of ``sensors`` sensors, evenly spread: report ``i`` is of sensor ``i % sensors``.

    ``start_us`` is in microseconds since the epoch, ``spacing_us`` the time from one report to the next.
    Without ``total`` it goes on for ever.
    """

    sensors: int
    start_us: int
    spacing_us: float
    total: int | None

    def blocks(self) -> int | None:
        """Number of blocks, ``None`` for a schedule that goes on for ever."""
        return None if self.total is None else -(-self.total // BLOCK)

    def block(self, number: int) -> tuple[Ints, Ints]:
        """Sensors and times (microseconds since the epoch) of block ``number``, in time order."""
        end = (number + 1) * BLOCK if self.total is None else min((number + 1) * BLOCK, self.total)
        index = np.arange(number * BLOCK, end)
        times = self.start_us + np.floor(index * self.spacing_us).astype(np.int64)
        return index % self.sensors, times


def schedule(sensors: int, start_us: int, end_us: int | None, interval_us: float) -> Schedule:
    """Each of ``sensors`` sensors reports every ``interval_us``, from ``start_us`` to before ``end_us``."""
    spacing = interval_us / sensors
    total = None if end_us is None else max(round((end_us - start_us) / spacing), 0)
    return Schedule(sensors, start_us, spacing, total)
