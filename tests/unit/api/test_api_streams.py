"""Live values as they change, as clients of the served API see them: server-sent events and WebSockets."""

import itertools
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import orjson
import pytest
import redis
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from api.latest.changes import MOST_WAITING_BYTES
from client import Lakehouse
from hot_view.records import Update
from hot_view.view import View
from resources.hot_view import changes_key
from settings import Settings
from tests.unit.api.live_values import KEY, PATIENCE_S, minute, reading, served, this_minute, until

Event = dict[str, Any]


@pytest.fixture(scope="module")
def api_url(hot_settings: Settings) -> Iterator[str]:
    with served(hot_settings) as url:
        yield url


@pytest.fixture(scope="module")
def other_url(hot_settings: Settings) -> Iterator[str]:
    """Another process of the same service."""
    with served(hot_settings) as url:
        yield url


def readers(server: redis.Redis) -> int:
    """Connections that wait for changes."""
    return sum(client["cmd"] == "xread" and "b" in client["flags"] for client in server.client_list())


def nobody_waits(server: redis.Redis) -> bool:
    """Whether no connection does for a while: between two questions, which take two seconds, it seems so."""
    return not any(time.sleep(0.01) or readers(server) for _ in range(20))


@pytest.fixture(autouse=True)
def _connections_are_given_back(server: redis.Redis) -> Iterator[None]:
    yield
    # a question for changes takes two seconds: between two of them nobody seems to wait
    until(lambda: nobody_waits(server), "nobody waits for changes")


@contextmanager
def stream(api_url: str, *, header: str | None = None, **parameters: str) -> Iterator[Iterator[Event]]:
    headers = KEY if header is None else {**KEY, "Last-Event-ID": header}
    with httpx.stream(
        "GET", f"{api_url}/v1/traffic/stream", params=parameters, headers=headers, timeout=PATIENCE_S
    ) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        yield events(answer.iter_lines())


def events(lines: Iterator[str]) -> Iterator[Event]:
    event: Event = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            event[name] = orjson.loads(value) if name == "data" else value
        elif event:
            if "data" in event:
                yield {name: event[name] for name in ("id", "event", "data") if name in event}
            event = {}


@contextmanager
def websocket(
    api_url: str, *, key: str | None = KEY["X-API-Key"], **parameters: str
) -> Iterator[ClientConnection]:
    url = httpx.URL(f"{api_url}/v1/traffic/stream", params=parameters)
    headers = {} if key is None else {"X-API-Key": key}
    address = str(url).replace("http", "ws", 1)
    # one that is not asked for frames takes two at most: what it does not read waits on the server's side
    with connect(
        address, additional_headers=headers, open_timeout=PATIENCE_S, compression=None, max_queue=1
    ) as connection:
        yield connection


def received(connection: ClientConnection) -> Iterator[Event]:
    while True:
        frame = orjson.loads(connection.recv(PATIENCE_S))
        yield from frame["events"]
        if frame["events"]:
            assert frame["last_event_id"] >= frame["events"][-1]["id"]


def data(update: Update) -> Any:
    return orjson.loads(update.document)


def test_each_change_comes_as_an_event_to_those_who_want_it(api_url: str, server: redis.Redis, view: View) -> None:
    with (
        stream(api_url) as everything,
        stream(api_url, zone="north") as north,
        stream(api_url, sensor_id="t-3") as third,
        stream(api_url, sensor_id="t-3", zone="north") as both,
        stream(api_url, kind="zone") as zones,
        websocket(api_url) as socket_of_everything,
        websocket(api_url, zone="north", kind="reading") as socket_of_north,
    ):
        until(lambda: readers(server) == 1, "one reads for all clients")
        updates = [
            reading("t-1"),
            reading("t-2", zone="north"),
            minute("north", this_minute(), [1.0]),
            reading("t-3", zone="centre"),
            reading("t-3", zone="north", offset=9, age_s=0),
        ]
        for update in updates:
            view.apply([update], {})
        seen = [next(everything) for _ in range(5)]
        assert [event["data"] for event in seen] == [data(update) for update in updates]
        assert [event["event"] for event in seen] == ["reading", "reading", "zone", "reading", "reading"]
        assert len({event["id"] for event in seen}) == 5
        assert [next(north) for _ in range(3)] == [seen[1], seen[2], seen[4]]
        assert [next(third) for _ in range(2)] == seen[3:]
        assert next(both) == seen[4]
        assert next(zones) == seen[2]
        arriving = received(socket_of_everything)
        assert [next(arriving) for _ in range(5)] == seen
        arriving = received(socket_of_north)
        assert [next(arriving) for _ in range(2)] == [seen[1], seen[4]]


@pytest.mark.parametrize("how", ["parameter", "header", "websocket"])
def test_a_client_that_was_away_goes_on_after_the_last_event_on_any_process(
    api_url: str, other_url: str, server: redis.Redis, view: View, how: str
) -> None:
    assert server.ping()
    updates = [
        reading(f"t-{number % 5}", offset=number, zone=("centre", "north")[number % 2]) for number in range(8)
    ]
    with stream(api_url, zone="north") as before:
        for update in updates:
            view.apply([update], {})
        last = [next(before) for _ in range(2)][-1]
    # more than is read of Redis at once
    missed = [reading(f"m-{number}", zone="north") for number in range(2_500)]
    for first in range(0, len(missed), 250):
        view.apply(missed[first : first + 250], {})
    later = reading("later", zone="north")

    def all_of(arriving: Iterator[Event]) -> list[Any]:
        found = [next(arriving)["data"] for _ in range(2 + len(missed))]
        view.apply([later], {})
        return [*found, next(arriving)["data"]]

    if how == "websocket":
        with websocket(other_url, zone="north", last_event_id=last["id"]) as connection:
            found = all_of(received(connection))
    else:
        sent = {"header": last["id"]} if how == "header" else {"last_event_id": last["id"]}
        with stream(other_url, zone="north", **sent) as after:
            found = all_of(after)
    assert found == [data(update) for update in (updates[5], updates[7], *missed, later)]


def test_what_is_not_kept_any_more_is_told(api_url: str, server: redis.Redis, view: View) -> None:
    with stream(api_url) as before:
        view.apply([reading("t-1")], {})
        last = next(before)
    until(lambda: nobody_waits(server), "who joins later begins after what follows")
    view.apply([reading("t-2")], {})
    view.apply([reading("t-3")], {})
    server.xtrim(changes_key("traffic"), maxlen=1, approximate=False)
    with stream(api_url, last_event_id=last["id"]) as after, websocket(api_url, last_event_id=last["id"]) as other:
        view.apply([now := reading("t-4")], {})
        for arriving in (after, received(other)):
            reset, event = next(arriving), next(arriving)
            assert (reset["event"], event["data"]) == ("reset", data(now))
            assert "read latest" in reset["data"]["detail"]


def test_the_client_package_reads_the_newest_and_follows_changes(
    api_url: str, server: redis.Redis, view: View
) -> None:
    view.apply([reading("t/ 1"), other := reading("t-2", zone="north")], {})
    with Lakehouse(api_url, KEY["X-API-Key"]) as lakehouse, ThreadPoolExecutor(1) as pool:
        assert lakehouse.latest_of_sensor("traffic", "t-2") == data(other) | {"source": "live"}
        assert [found["sensor_id"] for found in lakehouse.latest("traffic", zone="north")] == ["t-2"]
        changes = lakehouse.changes("traffic", sensor_id="t-3")
        first = pool.submit(next, changes)
        offset = itertools.count()
        while not first.done():
            # what is written before the stream is there is not in it
            view.apply([reading("t-1"), reading("t-3", offset=next(offset), age_s=0)], {})
        found = first.result()
        assert (found.kind, found.value["sensor_id"]) == ("reading", "t-3")
        changes.close()
        view.apply([reading("t-1"), reading("t-3", offset=next(offset), age_s=0)], {})
        kept = server.xrange(changes_key("traffic"))
        following = [id_.decode() for id_, fields in kept if b"t-3" in fields[b"sensor"]]
        changes = lakehouse.changes("traffic", sensor_id="t-3", after=found.id)
        resumed = next(changes)
        changes.close()
    assert resumed.id == following[following.index(found.id) + 1]
    assert resumed.value["kafka_offset"] == found.value["kafka_offset"] + 1


FILL_CHANGES = 40_000


def fill(view: View) -> int:
    """Write far more changes than may wait for a client; returns their bytes."""
    sent = 0
    for number in range(FILL_CHANGES // 1000):
        updates = [reading(f"t-{index}", offset=number + 1, event_id="x" * 1000) for index in range(1000)]
        view.apply(updates, {})
        sent += sum(len(update.document) for update in updates)
    assert sent > 10 * MOST_WAITING_BYTES
    return sent


@pytest.mark.usefixtures("server")
def test_a_client_that_does_not_read_is_dropped_and_told_and_the_others_go_on(api_url: str, view: View) -> None:
    port = httpx.URL(api_url).port
    request = (
        f"GET /v1/traffic/stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-API-Key: {KEY['X-API-Key']}\r\n\r\n"
    )
    with (
        socket.create_connection(("127.0.0.1", port)) as lazy,
        websocket(api_url) as lazy_too,
        stream(api_url, sensor_id="last") as attentive,
    ):
        lazy.sendall(request.encode())
        assert lazy.recv(12) == b"HTTP/1.1 200"
        sent = fill(view)
        view.apply([last := reading("last")], {})
        assert next(attentive)["data"] == data(last)
        content = b""
        lazy.settimeout(PATIENCE_S)
        while chunk := lazy.recv(1 << 20):
            content += chunk
        # how much the kernel keeps for a socket is the machine's affair
        assert len(content) < sent
        count = 0
        with pytest.raises(ConnectionClosed) as closed:
            for _ in received(lazy_too):
                count += 1
        assert count < FILL_CHANGES
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason[:11]) == (1008, "more than 4")
        assert b'event: end\ndata: {"reason":"slow"' in content[-500:]


def test_a_change_is_not_lost_with_the_connection_to_redis(api_url: str, server: redis.Redis, view: View) -> None:
    with stream(api_url) as live, websocket(api_url) as other:
        until(lambda: readers(server) == 1, "the reader waits")
        for number in range(5):
            server.client_kill_filter(_type="normal", skipme=True)
            # while the reader's connection is away, most likely
            view.apply([update := reading("t-1", offset=number, age_s=0)], {})
            assert next(live)["data"] == data(update)
            assert next(received(other))["data"] == data(update)
