"""Identical reads at the same time."""

import asyncio
from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry

from api.caching.flights import Flights
from api.caching.metrics import CacheMetrics


class Reads:
    """Reads that end when they are let go; counts those that began and those that were broken off."""

    def __init__(self) -> None:
        self.began = self.broken_off = 0
        self.gate = asyncio.Event()
        self.failure: Exception | None = None

    async def __call__(self) -> int:
        self.began += 1
        number = self.began
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.broken_off += 1
            raise
        if self.failure is not None:
            raise self.failure
        return number


async def settled() -> None:
    """All has run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


def run(scenario: Callable[[Flights, Reads], Awaitable[None]]) -> CollectorRegistry:
    """Run it on an event loop that must have nothing to complain of."""
    registry = CollectorRegistry()
    complaints: list[object] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        await scenario(Flights(CacheMetrics(registry).joined), Reads())

    asyncio.run(watched())
    assert complaints == []
    return registry


def test_those_who_ask_for_the_same_share_a_read() -> None:
    async def scenario(flights: Flights, reads: Reads) -> None:
        same = [asyncio.create_task(flights.fly("a", reads)) for _ in range(20)]
        other = asyncio.create_task(flights.fly("b", reads))
        await settled()
        reads.gate.set()
        assert await asyncio.gather(*same, other) == [1] * 20 + [2]
        # nothing is kept
        assert await flights.fly("a", reads) == 3

    joined = run(scenario).get_sample_value("lakehouse_api_reads_joined_total")
    assert joined == 19


def test_a_failure_reaches_all_who_waited_and_the_next_reads_again() -> None:
    async def scenario(flights: Flights, reads: Reads) -> None:
        reads.failure = OSError("the store is gone")
        waiting = [asyncio.create_task(flights.fly("a", reads)) for _ in range(3)]
        await settled()
        reads.gate.set()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert outcomes == [reads.failure] * 3
        reads.failure = None
        assert await flights.fly("a", reads) == 2

    run(scenario)


def test_one_who_goes_away_leaves_the_read_to_the_others() -> None:
    async def scenario(flights: Flights, reads: Reads) -> None:
        waiting = [asyncio.create_task(flights.fly("a", reads)) for _ in range(3)]
        await settled()
        for gone in waiting[:2]:
            gone.cancel()
        await settled()
        late = asyncio.create_task(flights.fly("a", reads))
        await settled()
        reads.gate.set()
        assert await asyncio.gather(waiting[2], late) == [1, 1]
        assert reads.broken_off == 0

    run(scenario)


def test_a_read_that_nobody_waits_for_is_broken_off_and_not_joined() -> None:
    async def scenario(flights: Flights, reads: Reads) -> None:
        only = asyncio.create_task(flights.fly("a", reads))
        await settled()
        only.cancel()
        await settled()
        next_one = asyncio.create_task(flights.fly("a", reads))
        await settled()
        assert (reads.began, reads.broken_off) == (2, 1)
        # the end of the first must not make the second one unknown
        third = asyncio.create_task(flights.fly("a", reads))
        await settled()
        reads.gate.set()
        assert await asyncio.gather(next_one, third) == [2, 2]

    run(scenario)


def test_a_failure_that_nobody_waits_for_any_more_is_silent() -> None:
    async def scenario(flights: Flights, reads: Reads) -> None:
        stubborn = asyncio.Event()

        async def read() -> int:
            try:
                await reads()
            except asyncio.CancelledError:
                # as a thread that ends in its own time, and badly
                await stubborn.wait()
                raise OSError("the store is gone") from None
            return 0

        only = asyncio.create_task(flights.fly("a", read))
        await settled()
        only.cancel()
        await settled()
        stubborn.set()
        await settled()

    run(scenario)
