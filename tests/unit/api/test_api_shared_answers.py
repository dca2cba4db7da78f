"""Finished answers in a real Redis: shared, bounded, and given up when Redis does not answer."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import redis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io.pyarrow import ArrowScan

from api.app import create_app
from api.caching import shared_answers
from api.caching.metrics import CacheMetrics
from api.caching.page import Page
from api.caching.shared_answers import ENTRY_BYTES, KEYS, SharedAnswers, connect_answers
from hot_view.view import View
from settings import Settings
from tests.unit.api.conftest import KEY, TABLE
from tests.unit.hot_view.valkey_server import running_valkey, valkey_settings

ROWS = f"/v1/tables/{TABLE}/rows"
BUDGET = 20 * (ENTRY_BYTES + 200)
HEADERS = {"X-API-Key": KEY}
PAGE = Page(b'{"rows":[]}', has_more=True, next_cursor="next")
NO_READS = {"api_answer_cache": 0, "api_batch_cache": 0}
"""So that only Redis can have an answer."""


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine Redis is not to be given up."""
    monkeypatch.setattr(shared_answers, "TIMEOUT_S", 30.0)


class Registry(CollectorRegistry):
    """Metrics of one process."""

    def __init__(self) -> None:
        super().__init__()
        self.metrics = CacheMetrics(self)

    def value(self, name: str, **labels: str) -> float:
        return self.get_sample_value(f"lakehouse_api_{name}", labels) or 0.0

    def shared(self, name: str) -> float:
        return self.value(f"cache_{name}", cache="shared_answers")


def run(
    settings: Settings,
    scenario: Callable[[SharedAnswers], Awaitable[None]],
    *,
    budget: int = BUDGET,
    registry: Registry | None = None,
) -> None:
    async def connected() -> None:
        answers = SharedAnswers(connect_answers(settings), budget, (registry or Registry()).metrics)
        try:
            await scenario(answers)
        finally:
            await answers.close()

    asyncio.run(connected())


async def put(answers: SharedAnswers, name: str, page: Page) -> None:
    answers.put_soon(name, page)
    await asyncio.gather(*answers._puts)


@pytest.mark.parametrize(
    "page", [PAGE, Page(b"", has_more=False), Page(b"x" * 100_000, has_more=False), Page(os.urandom(5000), True)]
)
def test_what_one_process_puts_another_gets(hot_settings: Settings, server: redis.Redis, page: Page) -> None:
    async def first(answers: SharedAnswers) -> None:
        assert await answers.get("a") is None
        await put(answers, "a", page)

    async def second(answers: SharedAnswers) -> None:
        assert await answers.get("a") == page
        assert await answers.get("b") is None

    registry = Registry()
    run(hot_settings, first, budget=1 << 20)
    run(hot_settings, second, budget=1 << 20, registry=registry)
    assert [registry.shared(f"{name}_total") for name in ("hits", "misses")] == [1, 1]
    assert server.hlen(KEYS[0]) == 1


def bytes_in(server: redis.Redis) -> int:
    bodies = server.hgetall(KEYS[0])
    assert isinstance(bodies, dict)
    return sum(len(body) + ENTRY_BYTES for body in bodies.values())


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 900)), max_size=60))
def test_the_answers_stay_within_their_budget(
    hot_settings: Settings, server: redis.Redis, sizes: list[tuple[int, int]]
) -> None:
    server.flushall()
    registry = Registry()

    async def scenario(answers: SharedAnswers) -> None:
        for number, size in sizes:
            await put(answers, str(number), Page(os.urandom(size), has_more=False))
            total = bytes_in(server)
            assert total <= BUDGET
            assert total == int(server.get(KEYS[2]) or 0) == registry.shared("bytes")  # type: ignore[arg-type]
            assert server.hlen(KEYS[0]) == server.zcard(KEYS[1])

    run(hot_settings, scenario, registry=registry)


def test_what_was_used_last_stays(hot_settings: Settings, server: redis.Redis) -> None:
    page = Page(os.urandom(200), has_more=False)

    async def scenario(answers: SharedAnswers) -> None:
        for number in range(40):
            await put(answers, str(number), page)
            assert await answers.get("0") == page
            await asyncio.sleep(0.002)  # the order is by milliseconds
        names = {name.decode() for name in server.hkeys(KEYS[0])}  # type: ignore[union-attr]
        assert {"0", "39", "38"} < names
        assert "1" not in names

    registry = Registry()
    run(hot_settings, scenario, registry=registry)
    assert registry.shared("evictions_total") == 40 - int(server.hlen(KEYS[0]))  # type: ignore[arg-type]


def test_what_nobody_asks_for_is_let_go_of(
    hot_settings: Settings, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000_000_000
    monkeypatch.setattr(shared_answers, "_now_ms", lambda: now)

    async def scenario(answers: SharedAnswers) -> None:
        nonlocal now
        await put(answers, "unused", PAGE)
        await put(answers, "used", PAGE)
        now += shared_answers.KEEP_MS - 1
        assert await answers.get("used") == PAGE
        now += 1
        await put(answers, "new", PAGE)
        assert {*server.hkeys(KEYS[0])} == {b"used", b"new"}  # type: ignore[misc]
        for key in KEYS:
            assert 0 < server.pttl(key) <= shared_answers.KEEP_MS  # type: ignore[operator]

    run(hot_settings, scenario)


@pytest.mark.parametrize("lost", KEYS)
def test_a_redis_that_evicts_one_of_the_keys_stays_bounded(
    hot_settings: Settings, server: redis.Redis, lost: str
) -> None:
    async def scenario(answers: SharedAnswers) -> None:
        for number in range(10):
            await put(answers, str(number), Page(os.urandom(200), has_more=False))
        server.delete(lost)
        for number in range(100, 140):
            await put(answers, str(number), Page(os.urandom(200), has_more=False))
        assert 0 < bytes_in(server) <= BUDGET

    run(hot_settings, scenario)


def test_what_is_too_large_is_not_put(hot_settings: Settings, server: redis.Redis) -> None:
    async def scenario(answers: SharedAnswers) -> None:
        await put(answers, "a", Page(os.urandom(BUDGET), has_more=False))
        await put(answers, "b", Page(b"x" * BUDGET, has_more=False))

    run(hot_settings, scenario)
    assert server.hkeys(KEYS[0]) == [b"b"]


@pytest.mark.parametrize(
    "broken", [b"", b"no json\nx", b'["b",false,null,"plain"]\nx', b'["a",true,null,"zstd"]\nx']
)
def test_what_is_not_whole_or_anothers_is_no_answer(
    hot_settings: Settings, server: redis.Redis, broken: bytes
) -> None:
    server.hset(KEYS[0], "a", broken)  # type: ignore[arg-type]

    async def scenario(answers: SharedAnswers) -> None:
        assert await answers.get("a") is None

    run(hot_settings, scenario)


def test_a_budget_of_nothing_never_asks(tmp_path: Path) -> None:
    async def scenario(answers: SharedAnswers) -> None:
        assert await answers.get("a") is None
        await put(answers, "a", PAGE)

    registry = Registry()
    run(valkey_settings(tmp_path), scenario, budget=0, registry=registry)
    assert registry.value("shared_answer_errors_total") == 0


def test_a_redis_that_is_full_takes_no_answers_and_loses_nothing(
    hot_settings: Settings, server: redis.Redis, view: View
) -> None:
    assert view is not None
    server.config_set("maxmemory", "1mb")
    registry = Registry()
    try:
        before = set(server.scan_iter("hot:*"))
        run(hot_settings, lambda answers: put(answers, "a", PAGE), registry=registry)
        assert set(server.scan_iter("*")) == before != set()
    finally:
        server.config_set("maxmemory", "256mb")
    assert registry.value("shared_answer_errors_total") == 1


def test_a_redis_that_hangs_is_asked_once_and_then_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_answers, "AWAY_S", 3600.0)
    settings = valkey_settings(tmp_path)
    registry = Registry()

    async def scenario(answers: SharedAnswers) -> None:
        await put(answers, "a", PAGE)
        monkeypatch.setattr(shared_answers, "TIMEOUT_S", 0.05)
        process.send_signal(signal.SIGSTOP)
        for _ in range(100):
            assert await answers.get("a") is None
            await put(answers, "b", PAGE)
        # back, but not asked yet
        process.send_signal(signal.SIGCONT)
        assert await answers.get("a") is None
        monkeypatch.setattr(shared_answers, "TIMEOUT_S", 30.0)
        answers._breaker._ask_again_at = 0.0
        assert await answers.get("a") == PAGE

    with running_valkey(settings) as process:
        run(settings, scenario, registry=registry)
    assert registry.value("shared_answer_errors_total") == 1


@pytest.fixture
def files_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files of the table that are read from now on; results of checks, left by other tests, do not count."""
    paths: list[str] = []
    folder = f"/{TABLE.replace('.', '/')}/"
    to_table = ArrowScan.to_table

    def recording(self: ArrowScan, tasks: list[object]) -> object:
        found = [task.file.file_path for task in tasks]  # type: ignore[attr-defined]
        paths.extend(path for path in found if folder in path)
        return to_table(self, tasks)  # type: ignore[arg-type]

    monkeypatch.setattr(ArrowScan, "to_table", recording)
    return paths


def test_redis_may_come_and_go(
    tmp_path: Path, catalog: SqlCatalog, files_read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_answers, "AWAY_S", 0.0)
    settings = valkey_settings(tmp_path, api_key=KEY).model_copy(update=NO_READS)
    asked = {"zone": "centre", "order": "event_id", "format": "csv"}
    bodies = []

    def ask(client: TestClient) -> None:
        bodies.append(client.get(ROWS, params=asked).raise_for_status().content)

    def another() -> TestClient:
        return TestClient(create_app(settings, catalog_factory=lambda _: catalog), headers=HEADERS)

    with another() as client:
        ask(client)
        with running_valkey(settings):
            ask(client)
        ask(client)
        files_read.clear()
        # killed in between, it has lost everything, and the script as well
        with running_valkey(settings):
            ask(client)
    assert files_read
    with running_valkey(settings):
        with another() as client:
            ask(client)
        files_read.clear()
        with another() as client:
            ask(client)
        assert files_read == []
    assert len(set(bodies)) == 1
    assert len(bodies) == 6
