"""Live values over a real server: what is answered, and what is refused."""

import statistics
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

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
from api.latest.schemas import latest_model, reading_model
from api.latest.window import parse_minutes, rolling_window
from contracts import families
from hot_view.view import View
from resources.hot_view import reading_key
from settings import Settings
from tests.unit.api.live_values import (
    KEY,
    TRAFFIC,
    instant,
    minute,
    minute_fields,
    now,
    problem,
    reading,
    this_minute,
)

ROUTES = ("/v1/traffic/sensors/t-1/latest", "/v1/traffic/latest", "/v1/traffic/stream")


@pytest.fixture(scope="module")
def client(hot_settings: Settings, catalog: SqlCatalog) -> Iterator[TestClient]:
    with TestClient(create_app(hot_settings, catalog_factory=lambda _: catalog), headers=KEY) as client:
        yield client


def live(document: bytes) -> bytes:
    """What is answered for a reading: all that stands in it, and that it is live."""
    return document.removesuffix(b"}") + b',"source":"live"}'


def test_the_newest_reading_is_answered_as_it_was_written(client: TestClient, view: View) -> None:
    newer, older = reading("t-1", offset=2), reading("t-1", offset=1, age_s=5)
    view.apply([newer], {})
    view.apply([older], {})
    answer = client.get("/v1/traffic/sensors/t-1/latest")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Lakehouse-Source"] == "live"
    assert (answer.headers["Lakehouse-Snapshot-Id"], answer.headers["Lakehouse-Quality"]) == ("none", "none")
    assert answer.content == live(newer.document)


@pytest.mark.parametrize("sensor", ["ä b/c".replace("/", "-"), "..", "a%b", "x" * 512, "s:1:2", "\U0001f600"])
def test_any_sensor_can_be_asked_for(client: TestClient, view: View, sensor: str) -> None:
    update = reading(sensor)
    view.apply([update], {})
    path = "".join(f"%{byte:02X}" for byte in sensor.encode())
    assert client.get(f"/v1/traffic/sensors/{path}/latest").content == live(update.document)


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
