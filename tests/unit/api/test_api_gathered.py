"""Reads of single entries, gathered into few questions."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from api.latest.gathered import GatheredReads


class Store:
    """Answers each key with itself, when it is let to; keys that begin with ``-`` have no entry."""

    def __init__(self) -> None:
        self.questions: list[list[str]] = []
        self.gate = asyncio.Event()
        self.failure = OSError("gone")
        self.fails_at = 0
        """Number of the question that fails."""

    async def __call__(self, keys: Sequence[str]) -> list[bytes | None]:
        self.questions.append(list(keys))
        await self.gate.wait()
        if len(self.questions) == self.fails_at:
            raise self.failure
        return [None if key.startswith("-") else key.encode() for key in keys]


async def settled() -> None:
    """All has run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


def run(scenario: Callable[[Store, GatheredReads], Awaitable[None]]) -> None:
    """Run it on an event loop that must have nothing to complain of."""
    complaints: list[object] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        store = Store()
        await scenario(store, GatheredReads(store))

    asyncio.run(watched())
    assert complaints == []


def test_those_that_come_meanwhile_make_one_question() -> None:
    async def scenario(store: Store, reads: GatheredReads) -> None:
        first = asyncio.create_task(reads.get("a"))
        await settled()
        others = [asyncio.create_task(reads.get(key)) for key in ("b", "-c", "b", "a")]
        await settled()
        assert store.questions == [["a"]]
        store.gate.set()
        assert await asyncio.gather(first, *others) == [b"a", b"b", None, b"b", b"a"]
        # what was read before is not what is there now
        assert store.questions == [["a"], ["b", "-c", "a"]]
        assert await reads.get("a") == b"a"
        assert store.questions[2:] == [["a"]]

    run(scenario)


def test_a_failure_reaches_those_whose_question_it_was() -> None:
    async def scenario(store: Store, reads: GatheredReads) -> None:
        waiting = [asyncio.create_task(reads.get(key)) for key in ("a", "b")]
        await settled()
        later = asyncio.create_task(reads.get("a"))
        store.fails_at = 1
        store.gate.set()
        assert await asyncio.gather(*waiting, return_exceptions=True) == [store.failure] * 2
        assert await later == b"a"

    run(scenario)


def test_too_few_entries_leave_nobody_waiting() -> None:
    async def scenario() -> None:
        async def one_too_few(keys: Sequence[str]) -> list[bytes | None]:
            return [key.encode() for key in keys[1:]]

        reads = GatheredReads(one_too_few)
        waiting = [asyncio.create_task(reads.get(key)) for key in ("a", "b")]
        done, hang = await asyncio.wait(waiting, timeout=30)
        assert not hang
        assert {type(task.exception()) for task in done} == {ValueError}

    asyncio.run(scenario())


def test_one_that_goes_away_leaves_the_others_their_answers() -> None:
    async def scenario(store: Store, reads: GatheredReads) -> None:
        gone, first = (asyncio.create_task(reads.get("a")) for _ in range(2))
        await settled()
        also_gone, second = (asyncio.create_task(reads.get("b")) for _ in range(2))
        await settled()
        for task in (gone, also_gone):
            task.cancel()
        await settled()
        store.gate.set()
        assert await asyncio.gather(first, second) == [b"a", b"b"]

    run(scenario)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c", "-d"]), st.integers(0, 3)), max_size=30))
def test_each_gets_what_it_asked_for(asked: list[tuple[str, int]]) -> None:
    async def scenario(store: Store, reads: GatheredReads) -> None:
        async def get(key: str, turns: int) -> bytes | None:
            for _ in range(turns):
                await asyncio.sleep(0)
            return await reads.get(key)

        store.gate.set()
        found = await asyncio.gather(*(get(key, turns) for key, turns in asked))
        assert found == [None if key.startswith("-") else key.encode() for key, _ in asked]
        assert all(len(set(question)) == len(question) for question in store.questions)
        assert len(store.questions) <= len(asked)

    run(scenario)
