"""Values in memory, against a plain model of what the least recently used one is."""

import threading
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from api.caching.byte_cache import ByteCache
from api.caching.metrics import CacheMetrics

BUDGET = 10
VALUES = {
    key: b"x" * size for key, size in {"a": 0, "b": 1, "c": 2, "d": 4, "e": 5, "f": 9, "g": 10, "h": 11}.items()
}
"""What never changes under its key; the last one is too large."""


class Watched:
    """A cache of bytes, and its metrics."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._registry = CollectorRegistry()
        counted = CacheMetrics(self._registry).of("test")
        self.cache: ByteCache[str, bytes] = ByteCache(budget, size=len, counted=counted)

    def metric(self, name: str) -> float:
        value = self._registry.get_sample_value(f"lakehouse_api_cache_{name}", {"cache": "test"})
        assert value is not None
        return value


@given(st.lists(st.tuples(st.sampled_from(sorted(VALUES)), st.booleans()), max_size=60))
def test_what_is_kept_is_within_the_budget_and_was_used_last(steps: list[tuple[str, bool]]) -> None:
    watched = Watched()
    model: OrderedDict[str, bytes] = OrderedDict()
    hits = misses = evictions = 0
    for key, is_put in steps:
        if not is_put:
            assert watched.cache.get(key) == model.get(key)
            hits, misses = hits + (key in model), misses + (key not in model)
        elif len(VALUES[key]) <= BUDGET:
            watched.cache.put(key, VALUES[key])
            model[key] = VALUES[key]
            while sum(map(len, model.values())) > BUDGET:
                model.popitem(last=False)
                evictions += 1
        else:
            watched.cache.put(key, VALUES[key])
        if key in model:
            model.move_to_end(key)
        assert sum(map(len, model.values())) <= BUDGET
        assert watched.metric("bytes") == sum(map(len, model.values()))
    assert [watched.metric(f"{name}_total") for name in ("hits", "misses")] == [hits, misses]
    assert watched.metric("evictions_total") == evictions


def test_a_budget_of_nothing_keeps_nothing() -> None:
    watched = Watched(0)
    watched.cache.put("a", b"1")
    assert watched.cache.get("a") is None
    assert watched.cache.get_or_load("a", lambda: b"2") == b"2"
    assert watched.cache.get_or_load("a", lambda: b"3") == b"3"


class Loads:
    """A load that ends when it is let go; counts how often it begins."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.began = threading.Semaphore(0)
        self.gate = threading.Event()
        self.count = 0
        self._failure = failure

    def __call__(self) -> bytes:
        self.count += 1
        self.began.release()
        assert self.gate.wait(30)
        if self._failure is not None:
            raise self._failure
        return b"1"


@pytest.mark.parametrize("failure", [None, OSError("the store is gone")])
def test_a_value_is_loaded_once_for_all_threads_that_ask(failure: Exception | None) -> None:
    watched = Watched()
    loads = Loads(failure)
    outcomes: list[bytes | OSError] = []

    def ask() -> None:
        try:
            outcomes.append(watched.cache.get_or_load("a", loads))
        except OSError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    threads[0].start()
    assert loads.began.acquire(timeout=30)
    for thread in threads[1:]:
        thread.start()
    # all have looked, and found nothing, before the load ends
    while watched.metric("misses_total") < len(threads):
        threads[0].join(0.001)
    loads.gate.set()
    for thread in threads:
        thread.join()
    assert loads.count == 1
    assert outcomes == [failure or b"1"] * len(threads)
    # what failed is not kept
    assert watched.cache.get_or_load("a", lambda: b"2") == (b"2" if failure else b"1")
