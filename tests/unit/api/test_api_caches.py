"""Answers from the caches, against those of an application that keeps nothing."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pyarrow as pa
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pyarrow import parquet
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io.pyarrow import ArrowScan

import api.tables.states
from api.app import create_app
from api.rows import service
from contracts import served_tables
from resources.api_keys import KeyFile, issue
from settings import Settings
from tests.unit.api.conftest import KEY, NOTHING_KEPT, TABLE
from tests.unit.api.test_api_pages import WINDOWS, append, emptied, window

ROWS = f"/v1/tables/{TABLE}/rows"
HEADERS = {"X-API-Key": KEY}
SMALL = {"api_file_list_cache": 50_000, "api_batch_cache": 20_000, "api_answer_cache": 10_000}
CACHES = ("file_lists", "batches", "answers", "shared_answers")

Asked = tuple[str, dict[str, str]]

DECODED: dict[str, Callable[[bytes], Any]] = {
    "json": lambda body: [*{**orjson.loads(body), "freshness_ms": None}.items()],
    "ndjson": bytes,
    "csv": bytes,
    # not by their bytes: those depend on how the rows lie in memory
    "arrow": lambda body: pa.ipc.open_stream(body).read_all(),
    "parquet": lambda body: parquet.read_table(pa.BufferReader(body)),
}


@pytest.fixture(scope="module")
def uncached(settings: Settings, catalog: SqlCatalog) -> Iterator[TestClient]:
    app = create_app(settings.model_copy(update=NOTHING_KEPT), catalog_factory=lambda _: catalog)
    with TestClient(app, headers=HEADERS) as client:
        yield client


@pytest.fixture(scope="module", params=["roomy", "small", "shared"])
def cached(
    settings: Settings, hot_settings: Settings, catalog: SqlCatalog, request: pytest.FixtureRequest
) -> Iterator[TestClient]:
    sizes = {
        "roomy": settings,
        "small": settings.model_copy(update=SMALL),
        "shared": hot_settings.model_copy(update={"api_answer_cache": 0, "api_max_rows": settings.api_max_rows}),
    }
    app = create_app(sizes[request.param], catalog_factory=lambda _: catalog)
    with TestClient(app, headers=HEADERS) as client:
        yield client


filters = st.dictionaries(
    st.sampled_from(["zone", "sensor_id", "vehicle_count__gt", "event_time__lt", "zone__is_null", "from"]),
    st.integers(0, 2),
    max_size=2,
).map(
    lambda chosen: {
        name: {
            "zone": ["centre", "north", "nowhere"],
            "sensor_id": ["traffic-0000", "traffic-0003", "nobody"],
            "vehicle_count__gt": ["0", "2", "50"],
            "event_time__lt": ["2026-03-01T09:00:00Z", "2026-03-02T00:00:00Z", "2026-03-04T00:00:00Z"],
            "zone__is_null": ["true", "false", "true"],
            "from": ["2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z"],
        }[name][index]
        for name, index in chosen.items()
    }
)
formats = st.sampled_from(["json", "ndjson", "csv", "arrow", "parquet"])
rows = st.builds(
    lambda wanted, order, limit, columns, format_: (
        ROWS,
        {**wanted, "order": order, "limit": str(limit), "columns": columns, "format": format_},
    ),
    filters,
    st.sampled_from(["-event_time", "zone", "avg_speed_kmh,-event_time"]),
    st.sampled_from([1, 20, 300]),
    st.sampled_from(["event_id", "event_time,zone", "kafka_offset,avg_speed_kmh,zone"]),
    formats,
)
aggregates = st.builds(
    lambda wanted, measures, group_by, format_: (
        f"/v1/tables/{TABLE}/aggregate",
        {**wanted, "measures": measures, "group_by": group_by, "format": format_},
    ),
    filters,
    st.sampled_from(["count", "count,max(vehicle_count)", "p50(avg_speed_kmh)"]),
    st.sampled_from(["zone", "sensor_id"]),
    formats,
)


@hypothesis_settings(max_examples=25, deadline=None)
@given(asked=st.lists(rows | aggregates, min_size=1, max_size=3))
def test_answers_are_those_of_an_application_that_keeps_nothing(
    cached: TestClient, uncached: TestClient, asked: list[Asked]
) -> None:
    for path, parameters in [*asked, *asked]:
        answer = cached.get(path, params=parameters).raise_for_status()
        expected = uncached.get(path, params=parameters).raise_for_status()
        headers = [
            {name: value for name, value in each.headers.items() if name != "x-request-id"}
            for each in (answer, expected)
        ]
        for each in headers:
            del each["lakehouse-freshness-ms"], each["content-length"]
        assert headers[0] == headers[1]
        bodies = [DECODED[parameters["format"]](each.content) for each in (answer, expected)]
        assert bodies[0] == bodies[1]


def metric(app: FastAPI, name: str, **labels: str) -> float:
    """A metric alone: those of tables would ask an event loop that waits here, or has ended."""
    name = f"lakehouse_api_{name}"
    found = app.state.metrics.registry.restricted_registry([name]).collect()
    samples = [sample for family in found for sample in family.samples]
    return sum(sample.value for sample in samples if (sample.name, sample.labels) == (name, labels))


def test_each_cache_says_how_it_does(hot_settings: Settings, catalog: SqlCatalog) -> None:
    app = create_app(hot_settings, catalog_factory=lambda _: catalog)
    asked = {"zone": "centre", "order": "event_id", "limit": "7"}
    with TestClient(app, headers=HEADERS) as client:
        for _ in range(3):
            client.get(ROWS, params=asked).raise_for_status()
    # a process that has just started has it from Redis
    other = create_app(hot_settings, catalog_factory=lambda _: catalog)
    with TestClient(other, headers=HEADERS) as client:
        client.get(ROWS, params=asked).raise_for_status()

    def lookups(of: FastAPI, cache: str) -> tuple[float, float]:
        return metric(of, "cache_hits_total", cache=cache), metric(of, "cache_misses_total", cache=cache)

    assert lookups(app, "answers") == (2, 1)
    assert lookups(app, "shared_answers") == (0, 1)
    assert lookups(other, "answers") == (0, 1)
    assert lookups(other, "shared_answers") == (1, 0)
    assert lookups(other, "batches") == (0, 0)
    for cache in CACHES:
        assert metric(app, "cache_bytes", cache=cache) > 0
        assert metric(app, "cache_evictions_total", cache=cache) == 0


@pytest.fixture
def own_app(settings: Settings, own_catalog: SqlCatalog) -> FastAPI:
    return create_app(settings, catalog_factory=lambda _: own_catalog)


@pytest.mark.usefixtures("_commits_are_seen_at_once")
def test_a_new_snapshot_is_seen_at_once(own_app: FastAPI, own_catalog: SqlCatalog) -> None:
    table = emptied(own_catalog)
    path = f"/v1/tables/{WINDOWS.identifier}"
    snapshots = []
    with TestClient(own_app, headers=HEADERS) as client:
        for number in range(1, 6):
            snapshot = append(table, [window(f"energy-{number}", float(number), number)])
            for _ in range(2):
                rows = client.get(f"{path}/rows").raise_for_status().json()
                assert (rows["row_count"], rows["snapshot_id"]) == (number, str(snapshot))
                counted = client.get(f"{path}/aggregate", params={"measures": "max(active_power_kw_mean)"}).json()
                assert counted["rows"] == [{"max_active_power_kw_mean": number}]
                assert rows["reaches"] == f"2026-03-01T00:{number + 1:02}:00Z"
            snapshots.append(snapshot)
        # and those before as they were
        for number, snapshot in enumerate(snapshots, start=1):
            then = client.get(f"{path}/rows", params={"as_of": str(snapshot)}).raise_for_status().json()
            assert then["row_count"] == number
    table.delete()


def test_what_an_envelope_says_is_of_the_moment(
    own_app: FastAPI, own_catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(emptied(own_catalog), [window("energy-1", 1.0)])
    now = datetime(2026, 3, 1, 0, 1, tzinfo=UTC)
    monkeypatch.setattr(api.tables.states, "utc_now", lambda: now)
    said = []
    with TestClient(own_app, headers=HEADERS) as client:
        for _ in range(3):
            answer = client.get(f"/v1/tables/{WINDOWS.identifier}/rows").raise_for_status()
            assert answer.json()["freshness_ms"] == int(answer.headers["Lakehouse-Freshness-Ms"])
            said.append(answer.json()["freshness_ms"])
            now += timedelta(seconds=1.5)
    assert said == [0, 1500, 3000]
    assert metric(own_app, "cache_hits_total", cache="answers") == 2


def test_a_kept_answer_is_for_keys_that_may_read_the_table(
    hot_settings: Settings, catalog: SqlCatalog, tmp_path: Any
) -> None:
    settings = hot_settings.model_copy(update={"api_keys_file": tmp_path / "api-keys.json"})
    others = [table.identifier for table in served_tables() if table.identifier != TABLE]
    keys = []
    for tables in ([TABLE], others):
        key, text = issue("test", datetime.now(UTC), tables=tables)
        KeyFile(settings.api_keys_file).add(key)
        keys.append({"X-API-Key": text})
    allowed, denied = keys
    paths = [f"{ROWS}?limit=3&order=event_id", f"/v1/tables/{TABLE}/aggregate?group_by=zone"]
    with TestClient(create_app(settings, catalog_factory=lambda _: catalog)) as client:
        for path in paths:
            kept = [client.get(path, headers=allowed).raise_for_status() for _ in range(2)]
            assert kept[0].json()["rows"] == kept[1].json()["rows"] != []
            tag = kept[0].headers["ETag"]
            for headers in (denied, {**denied, "If-None-Match": tag}):
                answer = client.get(path, headers=headers)
                assert answer.status_code == 403
                assert "rows" not in answer.json()
            assert client.get(path).status_code == 401


def test_a_process_with_another_limit_does_not_take_the_answers_of_this_one(
    hot_settings: Settings, catalog: SqlCatalog
) -> None:
    found = {}
    for most in (5, 50):
        settings = hot_settings.model_copy(update={"api_max_rows": most})
        with TestClient(create_app(settings, catalog_factory=lambda _: catalog), headers=HEADERS) as client:
            answer = client.get(f"{ROWS}?order=event_time").raise_for_status()
            found[most] = answer.headers["ETag"], answer.json()["row_count"]
    assert [count for _, count in found.values()] == [5, 50]
    assert found[5][0] != found[50][0]


class Slow:
    """Reading rows waits until it is let go, and may fail then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.began, self.gate = threading.Event(), threading.Event()
        self.failure: Exception | None = None
        read = service.read_page

        def slow(*arguments: Any) -> Any:
            self.count += 1
            self.began.set()
            assert self.gate.wait(30)
            if self.failure is not None:
                raise self.failure
            return read(*arguments)

        monkeypatch.setattr(service, "read_page", slow)


def ask_at_once(app: FastAPI, slow: Slow, *, leaving: int) -> list[int | None]:
    """Ten ask for the same, the first ``leaving`` go away meanwhile; the statuses that they got."""

    async def scenario() -> list[int | None]:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://test", headers=HEADERS) as client,
        ):
            asking = [asyncio.create_task(client.get(ROWS, params={"limit": 9})) for _ in range(10)]
            await asyncio.to_thread(slow.began.wait, 30)
            while metric(app, "reads_joined_total") < len(asking) - 1:
                await asyncio.sleep(0.001)
            for gone in asking[:leaving]:
                gone.cancel()
            slow.gate.set()
            answers = await asyncio.gather(*asking, return_exceptions=True)
            return [None if isinstance(each, BaseException) else each.status_code for each in answers]

    return asyncio.run(scenario())


@pytest.mark.parametrize("leaving", [0, 4])
def test_identical_reads_at_once_are_done_once(
    settings: Settings, catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch, leaving: int
) -> None:
    app = create_app(settings, catalog_factory=lambda _: catalog)
    slow = Slow(monkeypatch)
    assert ask_at_once(app, slow, leaving=leaving) == [None] * leaving + [200] * (10 - leaving)
    assert slow.count == 1


def test_a_read_that_fails_fails_for_all_who_waited_and_is_tried_again(
    settings: Settings, catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(settings, catalog_factory=lambda _: catalog)
    slow = Slow(monkeypatch)
    slow.failure = OSError("the store is gone")
    assert ask_at_once(app, slow, leaving=0) == [503] * 10
    assert slow.count == 1
    slow.failure = None
    with TestClient(app, headers=HEADERS) as client:
        assert client.get(ROWS, params={"limit": 9}).status_code == 200
    assert slow.count == 2


def test_windows_asked_for_at_once_are_read_once(
    hot_settings: Settings, catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(hot_settings, catalog_factory=lambda _: catalog)
    began, gate = threading.Event(), threading.Event()
    count = 0
    matching_rows = service.matching_rows

    def slow(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        began.set()
        assert gate.wait(30)
        return matching_rows(*arguments)

    monkeypatch.setattr(service, "matching_rows", slow)

    async def scenario() -> list[int]:
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://test", headers=HEADERS
            ) as client,
        ):
            path = "/v1/traffic/windows?from=2026-03-01T00:00:00Z"
            asking = [asyncio.create_task(client.get(path)) for _ in range(5)]
            await asyncio.to_thread(began.wait, 30)
            while metric(app, "reads_joined_total") < len(asking) - 1:
                await asyncio.sleep(0.001)
            gate.set()
            return [each.status_code for each in await asyncio.gather(*asking)]

    assert asyncio.run(scenario()) == [200] * 5
    assert count == 1


def test_streams_are_not_kept(settings: Settings, catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    to_table = ArrowScan.to_table

    def recording(self: ArrowScan, tasks: Any) -> Any:
        read.append(tasks)
        return to_table(self, tasks)

    monkeypatch.setattr(ArrowScan, "to_table", recording)
    app = create_app(settings, catalog_factory=lambda _: catalog)
    with TestClient(app, headers=HEADERS) as client:
        bodies = [client.get(ROWS, params={"limit": "all", "format": "csv"}).content for _ in range(2)]
    assert bodies[0] == bodies[1]
    assert len(read) > 1
    for cache in ("answers", "batches"):
        assert metric(app, "cache_bytes", cache=cache) == 0
