"""The load generator: its arithmetic against numbers worked out by hand, its protocol against a small server."""

import asyncio
import statistics
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from benchmarks.load import generator
from benchmarks.load.generator import Generator
from benchmarks.load.pacing import Closed, Open, milliseconds
from benchmarks.load.plan import LoadPlan
from benchmarks.load.run import LoadError, run_load

BODY = b"x" * 100_000
CHUNKS = b"".join(b"%x\r\n%b\r\n" % (size, b"\r\n0\r\n\r\n"[:size].ljust(size, b"y")) for size in (7, 70_000, 1))
ANSWERS = {
    b"/small": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    b"/large": b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY),
    b"/chunks": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%b0\r\n\r\n" % CHUNKS,
    b"/known": b'HTTP/1.1 304 Not Modified\r\netag: "a"\r\n\r\n',
    b"/wrong": b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
    b"/begun": b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nx",
    b"/silent": b"",
}


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1]
            if path == b"/broken" or (path == b"/secret" and b"X-API-Key: secret\r\n" not in head):
                return
            writer.write(ANSWERS.get(path, ANSWERS[b"/small"]))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        writer.close()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server in a thread."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(answer, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield server.sockets[0].getsockname()[1]
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    for task in asyncio.all_tasks(loop):
        task.cancel()
        loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()


def plan(port: int, *paths: str, **others: object) -> LoadPlan:
    fields = {"connections": 4, "seconds": 0.2, "rate": 100, **others}
    return LoadPlan(host="127.0.0.1", port=port, paths=list(paths), **fields)


def test_requests_are_due_at_equal_distances_whenever_they_are_sent() -> None:
    pacing = Open(start=10.0, rate=4, total=6)
    assert pacing.take(9.9) is None
    assert pacing.next_at() == 10.0
    assert [pacing.take(10.0), pacing.take(10.1)] == [10.0, None]
    # the server answered nothing for a second: what was due meanwhile has waited since then
    assert [11.0 - pacing.take(11.0) for _ in range(4)] == [0.75, 0.5, 0.25, 0.0]
    assert pacing.take(11.0) is None
    assert (pacing.next_at(), pacing.take(99.0)) == (11.25, 11.25)
    assert (pacing.next_at(), pacing.take(99.0)) == (None, None)


def test_a_closed_loop_has_a_request_due_at_any_time_until_its_end() -> None:
    pacing = Closed(end=5.0)
    assert [pacing.take(1.0), pacing.take(1.0), pacing.take(4.9)] == [1.0, 1.0, 4.9]
    assert pacing.next_at() == 5.0
    assert (pacing.take(5.0), pacing.next_at()) == (None, None)


@hypothesis_settings(deadline=None)
@given(st.lists(st.floats(0, 100), min_size=2, max_size=300))
def test_percentiles_are_those_of_the_statistics_module(seconds: list[float]) -> None:
    found = milliseconds(seconds)
    of_thousand = statistics.quantiles(seconds, n=1000, method="inclusive")
    expected = {"p50_ms": 499, "p90_ms": 899, "p99_ms": 989, "p999_ms": 998}
    for name, place in expected.items():
        assert found[name] == pytest.approx(of_thousand[place] * 1000, rel=1e-9, abs=1e-3)
    assert found["max_ms"] == pytest.approx(max(seconds) * 1000, abs=1e-3)


def test_without_a_time_there_is_no_percentile() -> None:
    with pytest.raises(ValueError, match="no time"):
        milliseconds([])


def test_every_request_of_an_open_loop_is_counted_with_its_status_and_size(port: int) -> None:
    result = Generator(plan(port, "/small", "/large", "/chunks", "/known", "/wrong")).run()
    assert result.requests == 20
    assert result.statuses == {200: 12, 304: 4, 503: 4}
    assert result.body_bytes == (2 + 100_000 + 70_008) * 4 / 20
    assert (result.broken, result.unanswered) == (0, 0)
    assert 0 < result.p50_ms <= result.p90_ms <= result.p99_ms <= result.p999_ms <= result.max_ms


def test_a_warm_up_is_not_measured(port: int) -> None:
    result = Generator(plan(port, "/small", warm_up_s=0.1)).run()
    assert result.requests == 20


def test_a_closed_loop_goes_on_until_its_end(port: int) -> None:
    result = Generator(plan(port, "/small", rate=None, connections=2)).run()
    assert result.requests > 2
    assert result.seconds >= 0.2
    assert result.per_s == pytest.approx(result.requests / result.seconds, rel=0.01)


def test_the_first_byte_is_enough_where_it_is_asked_for(port: int) -> None:
    result = Generator(plan(port, "/begun", first_byte=True, connections=1)).run()
    assert (result.requests, result.unanswered, result.body_bytes) == (20, 0, 1)


def test_broken_connections_are_counted_and_replaced(port: int) -> None:
    result = Generator(plan(port, "/broken", "/small")).run()
    assert (result.requests, result.broken) == (10, 10)


def test_what_is_never_answered_counts_with_the_time_that_it_waited(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generator, "GIVE_UP_S", 0.1)
    result = Generator(plan(port, "/silent")).run()
    assert (result.requests, result.unanswered) == (0, 20)
    # the first was due when the load began, the last a hundredth of a second before the end
    assert result.max_ms >= 300
    assert result.p50_ms >= 200


def test_the_generator_runs_in_a_process_of_its_own_and_sends_its_headers(port: int) -> None:
    result = run_load(plan(port, "/secret", headers={"X-API-Key": "secret"}))
    assert (result.requests, result.broken) == (20, 0)
    assert run_load(plan(port, "/secret", "/small")).broken == 10


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(LoadError, match="refused"):
        run_load(plan(1, "/"))
