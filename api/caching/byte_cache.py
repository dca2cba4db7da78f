"""Values in memory, up to a number of bytes."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock
from typing import Generic, TypeVar

from cachetools import LRUCache

from api.caching.metrics import Counted

K = TypeVar("K")
V = TypeVar("V")


class _Values(LRUCache[K, V]):
    """Counts what goes for others."""

    def __init__(self, budget: int, size: Callable[[V], int], counted: Counted) -> None:
        super().__init__(budget, getsizeof=size)
        self._counted = counted

    def popitem(self) -> tuple[K, V]:
        self._counted.evictions.inc()
        return super().popitem()


class ByteCache(Generic[K, V]):
    """Keeps values of at most ``budget`` bytes together; what was not used for longest goes first.

    For values that never change under their key, as nothing is ever taken back. Safe to use from any thread; a
    value that is larger than the budget is not kept, so that a budget of 0 keeps nothing.
    """

    def __init__(self, budget: int, *, size: Callable[[V], int], counted: Counted) -> None:
        self._counted = counted
        self._lock = Lock()
        self._values: LRUCache[K, V] = _Values(budget, size, counted)
        self._size = size
        self._loading: dict[K, Future[V]] = {}

    @property
    def budget(self) -> int:
        """Most bytes that are kept."""
        return int(self._values.maxsize)

    def get(self, key: K) -> V | None:
        """The value of ``key``, if it is kept."""
        with self._lock:
            return self._look_up(key)

    def put(self, key: K, value: V) -> None:
        """Keep ``value``, unless it is too large."""
        if self._size(value) > self.budget:
            return
        with self._lock:
            self._values[key] = value
            self._counted.bytes.set(self._values.currsize)

    def get_or_load(self, key: K, load: Callable[[], V]) -> V:
        """The value of ``key``, loaded now if it is not kept; once for all threads that ask meanwhile.

        What ``load`` raises reaches all of them, and the next to ask tries again.
        """
        with self._lock:
            value = self._look_up(key)
            if value is not None:
                return value
            loading = self._loading.get(key)
            if loading is None:
                mine = self._loading[key] = Future()
        if loading is not None:
            return loading.result()
        try:
            value = load()
            self.put(key, value)
            mine.set_result(value)
        except BaseException as error:
            mine.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._loading[key]
        return value

    def _look_up(self, key: K) -> V | None:
        value = self._values.get(key)
        (self._counted.misses if value is None else self._counted.hits).inc()
        return value
