"""Live values over a real server: what is answered, what is refused, and events as a client of HTTP sees them."""

import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import redis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pyiceberg.catalog.sql import SqlCatalog

from api.app import create_app
from api.latest.changes import MOST_WAITING_BYTES
from api.latest.schemas import latest_model, reading_model
from api.latest.window import parse_minutes, rolling_window
from client import Change, Lakehouse
from contracts import families, family
from hot_view.records import RecordReader, Update
from hot_view.view import View
from resources.hot_view import Subject, changes_channel, reading_key
from settings import Settings
from settings.model import ROOT
from tests.unit.hot_view.valkey_server import running_valkey, valkey_settings

KEY = {"X-API-Key": "the-key-of-these-tests"}
TRAFFIC = family("traffic")
READER = RecordReader(TRAFFIC)
PATIENCE_S = 30
ROUTES = ("/v1/traffic/sensors/t-1/latest", "/v1/traffic/latest", "/v1/traffic/stream")


@pytest.fixture(scope="module")
def client(hot_settings: Settings, catalog: SqlCatalog) -> Iterator[TestClient]:
    with TestClient(create_app(hot_settings, catalog_factory=lambda _: catalog), headers=KEY) as client:
        yield client


def instant(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def now() -> datetime:
    return datetime.now(UTC)


def reading(
    sensor: str, *, zone: str | None = "centre", offset: int = 0, age_s: float = 1, **others: Any
) -> Update:
    moment = now() - timedelta(seconds=age_s)
    fields = {
        "event_id": f"e-{sensor}-{offset}",
        "sensor_id": sensor,
        "event_time": instant(moment),
        "zone": zone,
        "latitude": 52.5,
        "longitude": None,
        "vehicle_count": 12,
        "avg_speed_kmh": 45.25,
        "occupancy_ratio": 0.1,
        "kafka_partition": 0,
        "kafka_offset": offset,
        "kafka_time": instant(moment),
    }
    return READER.read(f"sensor:{sensor}".encode(), orjson.dumps(fields | others))


def minute_fields(zone: str, start: datetime, values: list[float]) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "zone": zone,
        "minute": instant(start),
        "event_count": len(values) + 1,  # one event without values
        "newest_event": instant(start + timedelta(seconds=len(values) % 60)),
    }
    for measure in TRAFFIC.measures:
        fields |= {
            f"{measure.name}_count": len(values),
            f"{measure.name}_sum": float(sum(values)) if values else None,
            f"{measure.name}_min": min(values, default=None),
            f"{measure.name}_max": max(values, default=None),
        }
    return fields


def minute(zone: str, start: datetime, values: list[float]) -> Update:
    key = f"zone:{zone}:{start:%Y-%m-%dT%H:%M}".encode()
    return READER.read(key, orjson.dumps(minute_fields(zone, start, values)))


def this_minute() -> datetime:
    return now().replace(second=0, microsecond=0)


def problem(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    detail: str = answer.json()["detail"]
    return detail


def test_the_newest_reading_is_answered_as_it_was_written(client: TestClient, view: View) -> None:
    newer, older = reading("t-1", offset=2), reading("t-1", offset=1, age_s=5)
    view.apply([newer], {})
    view.apply([older], {})
    answer = client.get("/v1/traffic/sensors/t-1/latest")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.content == newer.document


@pytest.mark.parametrize("sensor", ["ä b/c".replace("/", "-"), "..", "a%b", "x" * 512, "s:1:2", "\U0001f600"])
def test_any_sensor_can_be_asked_for(client: TestClient, view: View, sensor: str) -> None:
    update = reading(sensor)
    view.apply([update], {})
    path = "".join(f"%{byte:02X}" for byte in sensor.encode())
    assert client.get(f"/v1/traffic/sensors/{path}/latest").content == update.document


def test_a_sensor_without_a_reading_is_a_problem(client: TestClient, view: View) -> None:
    assert "no traffic sensor 't-9'" in problem(client.get("/v1/traffic/sensors/t-9/latest"), 404)
    view.apply([reading("t-1")], {})
    assert problem(client.get("/v1/weather/sensors/t-1/latest"), 404)


@pytest.mark.parametrize("route", ["{}/latest", "{}/stream", "{}/sensors/t-1/latest"])
@pytest.mark.parametrize(("wrong", "near"), [("trafic", "traffic"), ("Weather", "weather")])
def test_an_unknown_family_is_a_problem_with_suggestions(
    client: TestClient, route: str, wrong: str, near: str
) -> None:
    assert f"did you mean {near}" in problem(client.get(f"/v1/{route.format(wrong)}"), 404)


def test_tables_is_no_family(client: TestClient, view: View) -> None:
    assert "there is no table 'latest'" in problem(client.get("/v1/tables/latest"), 404)
    assert "there is no table 'stream'" in problem(client.get("/v1/tables/stream"), 404)
    assert "there is no family 'tables'" in problem(client.get("/v1/tables/sensors/t-1/latest"), 404)
    assert client.get("/v1/tables/bronze.traffic_events/rows").status_code == 200


@pytest.mark.parametrize("route", [*ROUTES, "/v1/trafic/latest"])
def test_without_the_key_nothing_is_answered(client: TestClient, route: str) -> None:
    assert problem(client.get(route, headers={"X-API-Key": "wrong"}), 401)


@pytest.mark.parametrize("route", ROUTES)
def test_a_server_that_is_away_is_a_problem_that_passes(catalog: SqlCatalog, tmp_path: Path, route: str) -> None:
    settings = valkey_settings(tmp_path, api_key=KEY["X-API-Key"])
    with TestClient(create_app(settings, catalog_factory=lambda _: catalog), headers=KEY) as client:
        answer = client.get(route)
        assert "cannot be read now" in problem(answer, 503)
        assert int(answer.headers["Retry-After"]) > 0
        with running_valkey(settings):
            assert client.get("/v1/traffic/latest").status_code == 200
        assert problem(client.get("/v1/traffic/latest"), 503)


def test_the_readings_of_a_zone_are_those_of_its_sensors_now(
    client: TestClient, server: redis.Redis, view: View
) -> None:
    view.apply([reading(f"t-{number:03}", zone=("centre", "north")[number % 2]) for number in range(20)], {})
    moved = reading("t-004", zone="north", age_s=0, offset=50)
    view.apply([moved, reading("t-x", zone=None), reading("t-y", zone="centreville")], {})
    server.delete(reading_key("traffic", "t-006"))

    centre = client.get("/v1/traffic/latest", params={"zone": "centre", "limit": 300}).json()
    expected = [f"t-{number:03}" for number in range(0, 20, 2) if number not in {4, 6}]
    assert [entry["sensor_id"] for entry in centre["readings"]] == expected
    assert (centre["family"], centre["zone"], centre["reading_count"]) == ("traffic", "centre", len(expected))
    assert centre["has_more"] is False

    everything = client.get("/v1/traffic/latest", params={"limit": 300}).json()
    present = sorted(entry["sensor_id"] for entry in everything["readings"])
    assert present == sorted([*(f"t-{number:03}" for number in range(20) if number != 6), "t-x", "t-y"])

    assert client.get("/v1/traffic/latest", params={"zone": "nowhere"}).json()["readings"] == []


def test_a_limit_says_that_there_is_more(client: TestClient, view: View) -> None:
    view.apply([reading(f"t-{number}") for number in range(5)], {})
    for limit, more in ((4, True), (5, False)):
        answer = client.get("/v1/traffic/latest", params={"limit": limit}).json()
        assert (answer["reading_count"], answer["has_more"]) == (limit, more)
    for wrong in (0, -1, 10**9, "many"):
        assert "limit" in problem(client.get("/v1/traffic/latest", params={"limit": wrong}), 422)


def test_live_values_say_how_old_the_newest_of_them_is(
    client: TestClient, view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = now().replace(microsecond=0)
    monkeypatch.setattr("api.latest.age.utc_now", lambda: at)
    ages = {"t-old": 60, "t-new": 7.25, "t-ahead": -3}
    view.apply([reading(name, event_time=instant(at - timedelta(seconds=s))) for name, s in ages.items()], {})
    view.apply([minute("north", this_minute() - timedelta(minutes=2), [1.0])], {})
    for name, seconds in ages.items():
        headers = client.get(f"/v1/traffic/sensors/{name}/latest").headers
        assert headers["Lakehouse-Reaches"] == instant(at - timedelta(seconds=seconds))
        assert headers["Lakehouse-Freshness-Ms"] == str(max(0, round(seconds * 1000)))
        assert headers["Cache-Control"] == "private, no-cache"
    for asked, newest in (
        ({"zone": "centre"}, at + timedelta(seconds=3)),
        ({"zone": "north"}, this_minute() - timedelta(seconds=119)),
        ({"zone": "nowhere"}, None),
    ):
        answer = client.get("/v1/traffic/latest", params=asked)
        found, expected = (
            answer.json(),
            None if newest is None else max(0, (at - newest) // timedelta(milliseconds=1)),
        )
        assert (found["reaches"], found["freshness_ms"]) == (newest and instant(newest), expected)
        assert answer.headers["Lakehouse-Freshness-Ms"] == ("none" if expected is None else str(expected))


def test_the_window_of_a_zone_covers_its_newest_five_minutes(client: TestClient, view: View) -> None:
    newest = this_minute() - timedelta(minutes=1)
    values = {back: [float(back), 10.0 + back] for back in range(8)}
    view.apply([minute("north", newest - timedelta(minutes=back), list(values[back])) for back in values], {})
    view.apply([minute("silent", this_minute() - timedelta(minutes=9), [1.0])], {})
    (window,) = client.get("/v1/traffic/latest").json()["zones"]
    inside = [value for back in range(5) for value in values[back]]
    assert window["zone"] == "north"
    assert datetime.fromisoformat(window["window_end"]) == newest + timedelta(minutes=1)
    assert datetime.fromisoformat(window["window_start"]) == newest - timedelta(minutes=4)
    assert window["event_count"] == len(inside) + 5
    assert window["avg_speed_kmh_count"] == len(inside)
    assert window["avg_speed_kmh_min"] == min(inside)
    assert window["avg_speed_kmh_max"] == max(inside)
    assert window["avg_speed_kmh_mean"] == statistics.fmean(inside)
    named = client.get("/v1/traffic/latest", params={"zone": "north"}).json()
    assert named["zones"] == [window]


@given(
    values=st.lists(st.lists(st.integers(-1000, 1000).map(float), max_size=5), min_size=1, max_size=9),
    seed=st.randoms(use_true_random=False),
)
def test_merged_minutes_are_the_aggregates_of_their_events(values: list[list[float]], seed: Any) -> None:
    newest = this_minute()
    minutes = [
        orjson.dumps(minute_fields("z", newest - timedelta(minutes=back), events))
        for back, events in enumerate(values)
    ]
    seed.shuffle(minutes)
    window = rolling_window(TRAFFIC, parse_minutes(minutes))
    assert window is not None
    inside = [value for events in values[:5] for value in events]
    assert window["event_count"] == len(inside) + len(values[:5])
    for measure in TRAFFIC.measures:
        assert window[f"{measure.name}_count"] == len(inside)
        assert window[f"{measure.name}_min"] == min(inside, default=None)
        assert window[f"{measure.name}_max"] == max(inside, default=None)
        assert window[f"{measure.name}_mean"] == (pytest.approx(statistics.fmean(inside)) if inside else None)


def test_answers_and_examples_fit_the_documented_schemas(client: TestClient, view: View, app: FastAPI) -> None:
    view.apply([reading("t-1"), minute("centre", this_minute(), [1.0]), minute("north", this_minute(), [])], {})
    document = app.openapi()
    paths = document["paths"]

    def validator(path: str) -> Draft202012Validator:
        schema = paths[path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        return Draft202012Validator({**schema, "components": document["components"]})

    one, all_ = "/v1/traffic/sensors/{sensor_id}/latest", "/v1/traffic/latest"
    validator(one).validate(client.get("/v1/traffic/sensors/t-1/latest").json())
    validator(all_).validate(client.get("/v1/traffic/latest").json())
    for member in families():
        assert f"/v1/{member.name}/stream" in paths
        for example in latest_model(member).model_config["json_schema_extra"]["examples"]:
            latest_model(member).model_validate(example)
            validator(f"/v1/{member.name}/latest").validate(example)
            reading_model(member).model_validate(example["readings"][0])


@pytest.fixture(scope="module")
def api_url(hot_settings: Settings) -> Iterator[str]:
    """The API as it is deployed, in a process of its own."""
    with socket.socket() as probe, socket.socket() as other:
        for each in (probe, other):
            each.bind(("127.0.0.1", 0))
        port, metrics_port = probe.getsockname()[1], other.getsockname()[1]
    secrets = ("s3_access_key", "s3_secret_key", "redis_password", "api_key")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        "LAKEHOUSE_HOME": str(hot_settings.home),
        "LAKEHOUSE_REDIS_PORT": str(hot_settings.redis_port),
        "LAKEHOUSE_API_METRICS_PORT": str(metrics_port),
        **{f"LAKEHOUSE_{name.upper()}": getattr(hot_settings, name).get_secret_value() for name in secrets},
    }
    command = [sys.executable, "-m", "granian", "--interface", "asgi", "--factory", "--port", str(port)]
    with subprocess.Popen([*command, "api.app:create_worker"], env=environment, cwd=ROOT) as process:
        try:
            until(lambda: answers(f"http://127.0.0.1:{port}/health/live"), "the API answers")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def until(look: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not look():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.02)


def subscribers(server: redis.Redis) -> int:
    ((_, count),) = server.pubsub_numsub(changes_channel("traffic", Subject.SENSOR))
    return int(count)


@contextmanager
def stream(api_url: str, **filters: str) -> Iterator[Iterator[dict[str, str]]]:
    with httpx.stream(
        "GET", f"{api_url}/v1/traffic/stream", params=filters, headers=KEY, timeout=PATIENCE_S
    ) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        yield events(answer.iter_lines())


def events(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    event: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            event[name] = value
        elif event:
            if "data" in event:
                yield event
            event = {}


def test_each_change_comes_as_an_event_to_those_who_want_it(api_url: str, server: redis.Redis, view: View) -> None:
    with (
        stream(api_url) as everything,
        stream(api_url, zone="north") as north,
        stream(api_url, sensor_id="t-3") as third,
        stream(api_url, sensor_id="t-3", zone="north") as both,
        stream(api_url, kind="zone") as zones,
    ):
        assert subscribers(server) == 1  # one for all clients
        updates = [reading("t-1"), reading("t-2", zone="north"), minute("north", this_minute(), [1.0])]
        for update in [
            *updates,
            reading("t-3", zone="centre"),
            last := reading("t-3", zone="north", offset=9, age_s=0),
        ]:
            view.apply([update], {})
        seen = [next(everything) for _ in range(5)]
        assert [event["data"] for event in seen[:3]] == [update.document.decode() for update in updates]
        assert [event["event"] for event in seen] == ["reading", "reading", "zone", "reading", "reading"]
        assert len({event["id"] for event in seen}) == 5
        assert [next(north) for _ in range(3)] == [seen[1], seen[2], seen[4]]
        assert [next(third) for _ in range(2)] == seen[3:]
        assert next(both)["data"] == last.document.decode()
        assert next(zones) == seen[2]
    until(lambda: subscribers(server) == 0, "the subscription is given back")


def test_the_client_package_reads_the_newest_and_follows_changes(
    api_url: str, server: redis.Redis, view: View
) -> None:
    view.apply([reading("t/ 1"), other := reading("t-2", zone="north")], {})
    with Lakehouse(api_url, KEY["X-API-Key"]) as lakehouse, ThreadPoolExecutor(1) as pool:
        assert lakehouse.latest_of_sensor("traffic", "t-2") == orjson.loads(other.document)
        assert [found["sensor_id"] for found in lakehouse.latest("traffic", zone="north")] == ["t-2"]
        changes = lakehouse.changes("traffic", sensor_id="t-3")
        first = pool.submit(next, changes)
        until(lambda: subscribers(server) == 1, "the stream is subscribed")
        view.apply([reading("t-1"), wanted := reading("t-3")], {})
        assert first.result(PATIENCE_S) == Change("reading", orjson.loads(wanted.document))
        changes.close()


def test_a_client_that_does_not_read_is_dropped_and_the_others_go_on(
    api_url: str, server: redis.Redis, view: View
) -> None:
    port = httpx.URL(api_url).port
    request = f"GET /v1/traffic/stream HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY['X-API-Key']}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port)) as lazy, stream(api_url, sensor_id="last") as attentive:
        lazy.sendall(request.encode())
        assert lazy.recv(12) == b"HTTP/1.1 200"
        sent = 0
        for number in range(40):
            updates = [reading(f"t-{index}", offset=number + 1, event_id="x" * 1000) for index in range(1000)]
            view.apply(updates, {})
            sent += sum(len(update.document) for update in updates)
        assert sent > 10 * MOST_WAITING_BYTES
        view.apply([last := reading("last")], {})
        assert next(attentive)["data"] == last.document.decode()
        received = 0
        lazy.settimeout(PATIENCE_S)
        while chunk := lazy.recv(1 << 20):
            received += len(chunk)
        assert received < sent / 2


def test_a_stream_outlives_its_subscription(api_url: str, hot_settings: Settings, server: redis.Redis) -> None:
    with stream(api_url) as live:
        server.client_kill_filter(_type="pubsub", skipme=True)
        view = View(server)
        view.open()
        # the subscription is made anew by the client library, or the stream ends: it never goes silent
        until(lambda: subscribers(server) == 1, "the subscription is there again")
        view.apply([reading("t-1")], {})
        assert next(live)["event"] == "reading"
