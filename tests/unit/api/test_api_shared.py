"""One load for all who ask at once."""

import asyncio
import gc

import pytest

from api.shared import Shared


class Source:
    """Counts loads; each ends when it is let go."""

    def __init__(self) -> None:
        self.loads = 0
        self.gate = asyncio.Event()
        self.failure: Exception | None = None

    async def load(self) -> int:
        self.loads += 1
        await self.gate.wait()
        if self.failure:
            raise self.failure
        return self.loads


class Clock:
    """Tells the time that it is set to."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of what is shared, and of nothing else."""
    clock = Clock()
    monkeypatch.setattr("api.shared.time", clock)
    return clock


def kept_for_a_second() -> tuple[Source, Shared[int]]:
    """A source that answers at once, and what is loaded from it."""
    source = Source()
    source.gate.set()
    return source, Shared(source.load, keep_s=1)


def test_those_who_ask_at_once_share_one_load() -> None:
    async def scenario() -> None:
        source = Source()
        shared = Shared(source.load, keep_s=60)
        waiting = [asyncio.create_task(shared.get()) for _ in range(20)]
        await asyncio.sleep(0)
        source.gate.set()
        assert await asyncio.gather(*waiting) == [1] * 20
        assert await shared.get() == 1

    asyncio.run(scenario())


def test_a_value_is_loaded_again_after_its_time(clock: Clock) -> None:
    async def scenario() -> None:
        _, shared = kept_for_a_second()
        assert await shared.get() == 1
        clock.now = 0.99
        assert await shared.get() == 1
        clock.now = 1.0
        assert await shared.get() == 2

    asyncio.run(scenario())


def test_the_next_value_is_loaded_before_the_time_of_one_is_over(clock: Clock) -> None:
    async def scenario() -> None:
        source, shared = kept_for_a_second()
        assert await shared.get() == 1
        source.gate.clear()
        clock.now = 0.8
        # nobody waits while the value holds, however often it is asked for
        assert [await shared.get() for _ in range(3)] == [1, 1, 1]
        await asyncio.sleep(0)
        assert source.loads == 2
        clock.now = 1.0
        late = asyncio.create_task(shared.get())
        await asyncio.sleep(0)
        assert not late.done()
        source.gate.set()
        assert await late == 2
        assert source.loads == 2

    asyncio.run(scenario())


def test_what_is_held_needs_no_wait_and_no_load(clock: Clock) -> None:
    async def scenario() -> None:
        source, shared = kept_for_a_second()
        assert shared.held is None
        await shared.get()
        assert shared.held == 1
        # who does not wait leaves it to others to load the next in time
        clock.now = 0.8
        assert shared.held is None
        await asyncio.sleep(0)
        assert source.loads == 1

    asyncio.run(scenario())


def test_a_failure_before_the_time_is_over_is_tried_again(clock: Clock) -> None:
    async def scenario() -> None:
        complaints: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        source, shared = kept_for_a_second()
        assert await shared.get() == 1
        source.failure, clock.now = ConnectionError("down"), 0.8
        assert await shared.get() == 1
        await asyncio.sleep(0)
        source.failure, clock.now = None, 0.9
        assert await shared.get() == 1
        await asyncio.sleep(0)
        assert (await shared.get(), source.loads) == (3, 3)
        gc.collect()
        assert not complaints

    asyncio.run(scenario())


def test_a_failure_reaches_all_who_waited_and_is_not_kept() -> None:
    async def scenario() -> None:
        source = Source()
        source.failure = ConnectionError("down")
        shared = Shared(source.load, keep_s=60)
        waiting = [asyncio.create_task(shared.get()) for _ in range(3)]
        await asyncio.sleep(0)
        source.gate.set()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [str(outcome) for outcome in outcomes] == ["down"] * 3
        source.failure = None
        assert await shared.get() == 2

    asyncio.run(scenario())


def test_one_who_goes_away_does_not_take_the_load_along() -> None:
    async def scenario() -> None:
        source = Source()
        shared = Shared(source.load, keep_s=60)
        first, second = (asyncio.create_task(shared.get()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        source.gate.set()
        assert await second == 1
        assert source.loads == 1

    asyncio.run(scenario())
