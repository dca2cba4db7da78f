"""Sends records of several topics in the order they are due, as fast as possible or paced."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sources.delivery import Deliveries, EventProducer
from sources.outgoing import Outgoing

_LARGEST_BATCH = 16_384
_LONGEST_WAIT_S = 0.05
_TICK_S = 0.01
"""Pause of a paced stream that is up to date, so that it sends handfuls and not single records."""


class Progress(Protocol):
    """Is told how a run is getting on; called some twenty times a second at most."""

    def __call__(self, *, sent: int, acknowledged: int, waiting_for_broker: bool) -> None:
        """``sent`` records were handed over, ``acknowledged`` of them answered."""


def silent(*, sent: int, acknowledged: int, waiting_for_broker: bool) -> None:
    """Progress that nobody looks at."""


@dataclass(slots=True)
class Lane:
    """The records of one topic, batch after batch, and their account."""

    account: Deliveries
    batches: Iterator[Outgoing]
    current: Outgoing | None = None

    def load(self) -> bool:
        """Make sure that ``current`` has records; False at the end."""
        while self.current is None or len(self.current) == 0:
            self.current = next(self.batches, None)
            if self.current is None:
                return False
        return True


@dataclass(slots=True)
class Pace:
    """Maps due times to the wall clock: ``speed`` seconds of due time pass in a second.

    Without ``speed`` everything is due at once. ``start`` is the instant (seconds since the epoch) at which
    the first record is due, by default when the stream begins.
    """

    speed: float | None = None
    start: float | None = None

    def horizon(self, origin: int) -> Callable[[], float]:
        """Due time, in microseconds, up to which records may go out now; ``origin`` is the first due time."""
        if self.speed is None:
            return lambda: float("inf")
        speed, start = self.speed, time.time() if self.start is None else self.start
        return lambda: origin + (time.time() - start) * 1e6 * speed


def stream(
    producer: EventProducer, lanes: list[Lane], pace: Pace, progress: Progress, stop: threading.Event
) -> bool:
    """Send the records of all ``lanes`` in time order and wait until each has its answer in an account.

    Returns:
        Whether everything was sent; False when ``stop`` was set before.

    Raises:
        DeliveryError: the client refuses a record.
    """
    report = _throttled(progress, producer, [lane.account for lane in lanes])
    active = [lane for lane in lanes if lane.load()]
    horizon_now = pace.horizon(min((int(lane.current.due[0]) for lane in active if lane.current), default=0))
    try:
        while active and not stop.is_set():
            # up to the end of the batch that ends first: then no lane runs ahead of another
            horizon, batch_end = horizon_now(), min(_last_due(lane) for lane in active)
            sent = sum(_send_due(producer, lane, min(horizon, batch_end)) for lane in active)
            producer.poll(0 if sent else _LONGEST_WAIT_S)
            if horizon < batch_end:
                stop.wait(_TICK_S)
            report()
            active = [lane for lane in active if lane.load()]
    finally:
        producer.finish(stop.is_set, report)
        report(last=True)
    return not active


def _last_due(lane: Lane) -> float:
    return float("inf") if lane.current is None else float(lane.current.due[-1])


def _send_due(producer: EventProducer, lane: Lane, limit: float) -> int:
    current = lane.current
    if current is None:
        return 0
    count = min(int(np.searchsorted(current.due, limit, side="right")), _LARGEST_BATCH)
    if count == 0 or not producer.has_room(count):
        return 0
    producer.send(lane.account, current.slice(0, count))
    lane.current = current.slice(count, len(current))
    return count


class _Report(Protocol):
    def __call__(self, *, last: bool = False) -> None: ...


def _throttled(progress: Progress, producer: EventProducer, accounts: list[Deliveries]) -> _Report:
    reported_at = 0.0

    def report(*, last: bool = False) -> None:
        nonlocal reported_at
        if not last and time.monotonic() - reported_at < _LONGEST_WAIT_S:
            return
        reported_at = time.monotonic()
        progress(
            sent=sum(account.sent for account in accounts),
            acknowledged=sum(account.acknowledged for account in accounts),
            waiting_for_broker=producer.waiting_for_broker,
        )

    return report
