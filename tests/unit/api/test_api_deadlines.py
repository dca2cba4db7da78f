"""Queries that take too long: the client is told, and the work stops."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from anyio import CapacityLimiter
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io.pyarrow import ArrowScan

from api.app import create_app
from api.catalog import CatalogReader
from api.deadlines import (
    QueryTimeoutError,
    ReadCancelledError,
    check_deadline,
    interrupted_by_deadline,
    run_in_thread,
)
from settings import Settings
from tests.unit.api.conftest import APPENDS, KEY, NOTHING_KEPT

TABLE = "/v1/tables/bronze.traffic_events"
PATIENCE_S = 60
FOR_EVER = "SELECT count(*) FROM range(1000000000000) AS r(x) WHERE x % 7 = 3"


class Work:
    """Goes on until it is stopped, and notes by what."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self.started = threading.Event()
        self.ended = threading.Event()
        self.error: BaseException | None = None

    def __call__(self) -> None:
        self.started.set()
        try:
            self._work()
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.ended.set()


def for_ever() -> None:
    while True:
        check_deadline()


def query_for_ever() -> None:
    with duckdb.connect() as connection, interrupted_by_deadline(connection.interrupt):
        connection.sql(FOR_EVER).fetchall()


@pytest.mark.parametrize(
    ("work", "error"), [(for_ever, ReadCancelledError), (query_for_ever, duckdb.InterruptException)]
)
def test_work_stops_when_its_time_is_over_and_its_thread_is_free(
    work: Callable[[], None], error: type[BaseException]
) -> None:
    async def run() -> None:
        limiter, endless = CapacityLimiter(1), Work(work)
        with pytest.raises(QueryTimeoutError, match=r"0\.3 s"):
            await run_in_thread(endless, limiter=limiter, seconds=0.3)
        assert await run_in_thread(lambda: "next", limiter=limiter, seconds=PATIENCE_S) == "next"
        assert endless.ended.is_set()
        assert isinstance(endless.error, error)

    asyncio.run(run())


def test_work_stops_when_nobody_waits_for_it_any_more() -> None:
    async def run() -> None:
        endless = Work(for_ever)
        waiting = asyncio.create_task(run_in_thread(endless, limiter=CapacityLimiter(1), seconds=PATIENCE_S))
        await asyncio.to_thread(endless.started.wait)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert endless.ended.is_set(), "it is waited for, as it may use what the caller closes"

    asyncio.run(run())


def test_work_that_waited_too_long_for_a_thread_never_begins() -> None:
    async def run() -> None:
        limiter, release, late = CapacityLimiter(1), threading.Event(), Work(lambda: None)
        first = asyncio.create_task(run_in_thread(release.wait, limiter=limiter, seconds=PATIENCE_S))
        await asyncio.sleep(0)
        with pytest.raises(QueryTimeoutError):
            await run_in_thread(late, limiter=limiter, seconds=0.1)
        release.set()
        await first
        await run_in_thread(lambda: None, limiter=limiter, seconds=PATIENCE_S)
        assert not late.started.is_set()

    asyncio.run(run())


def test_errors_and_results_are_those_of_the_work() -> None:
    async def run() -> None:
        limiter = CapacityLimiter(1)
        assert await run_in_thread(lambda: 7, limiter=limiter, seconds=PATIENCE_S) == 7
        with pytest.raises(ZeroDivisionError):
            await run_in_thread(lambda: 1 // 0, limiter=limiter, seconds=PATIENCE_S)

    asyncio.run(run())


class SlowFiles:
    """The first group of files waits until it is released; counts those that are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.release = threading.Event()
        self.groups = 0
        read = ArrowScan.to_table

        def slow(scan: ArrowScan, tasks: Any) -> pa.Table:
            if tasks := list(tasks):
                self.groups += 1
                assert self.release.wait(PATIENCE_S)
            return read(scan, tasks)

        monkeypatch.setattr(ArrowScan, "to_table", slow)
        monkeypatch.setattr("api.rows.service.GROUP_FILES", 1)


@pytest.fixture
def one_thread(settings: Settings, catalog: SqlCatalog) -> Iterator[TestClient]:
    own = settings.model_copy(update={**NOTHING_KEPT, "api_query_timeout_s": PATIENCE_S, "api_read_threads": 1})
    with TestClient(create_app(own, catalog_factory=lambda _: catalog), headers={"X-API-Key": KEY}) as client:
        yield client


def reader_of(client: TestClient) -> CatalogReader:
    app = client.app
    assert isinstance(app, FastAPI)
    reader: CatalogReader = app.state.reader
    return reader


@pytest.mark.parametrize(
    "query",
    [
        "/rows?limit=300",
        "/rows?limit=300&order=event_time",
        "/aggregate?measures=count,avg(avg_speed_kmh)&group_by=sensor_id",
        "/rows?limit=all&format=csv",
    ],
)
def test_a_query_that_takes_too_long_reads_no_further(
    one_thread: TestClient, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    expected = one_thread.get(f"{TABLE}{query}")
    assert expected.status_code == 200
    reader = reader_of(one_thread)
    with monkeypatch.context() as patch:
        files = SlowFiles(patch)
        with pytest.MonkeyPatch.context() as impatient:
            impatient.setattr(reader, "_timeout_s", 0.5)
            answer = one_thread.get(f"{TABLE}{query}")
        assert answer.status_code == 503
        assert "longer than 0.5 s" in answer.json()["detail"]
        assert int(answer.headers["Retry-After"]) > 0
        files.release.set()
        assert one_thread.portal is not None
        # has its turn when the only thread for reads is free again
        one_thread.portal.call(reader.read, lambda: None)
        # none, where even the plan took that long
        assert files.groups <= 1 < APPENDS
    assert one_thread.get(f"{TABLE}{query}").status_code == 200


class LongComputation:
    """Stands for a connection of DuckDB that computes until it is interrupted."""

    def __init__(self, **_: object) -> None:
        self.interrupted = threading.Event()
        self.interrupt = self.interrupted.set

    def __enter__(self) -> "LongComputation":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def register(self, *_: object) -> None:
        pass

    def sql(self, _: str) -> "LongComputation":
        return self

    def to_arrow_table(self) -> pa.Table:
        assert self.interrupted.wait(PATIENCE_S)
        raise duckdb.InterruptException


def test_what_duckdb_computes_is_interrupted(one_thread: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    computation = LongComputation()
    monkeypatch.setattr("api.aggregates.service.duckdb.connect", lambda **_: computation)
    monkeypatch.setattr(reader_of(one_thread), "_timeout_s", 0.5)
    answer = one_thread.get(f"{TABLE}/aggregate?measures=avg(avg_speed_kmh)")
    assert answer.status_code == 503
    monkeypatch.setattr(reader_of(one_thread), "_timeout_s", PATIENCE_S)
    assert one_thread.portal is not None
    one_thread.portal.call(reader_of(one_thread).read, lambda: None)
    assert computation.interrupted.is_set()
