"""Finished and running windows in one answer, against windows that plain Python sums up from the same minutes."""

import statistics
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import orjson
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator
from pyiceberg.catalog.sql import SqlCatalog

from api.app import create_app
from api.windows.schemas import windows_model
from contracts import families, family, silver_5m
from hot_view.records import RecordReader
from hot_view.view import View
from settings import Settings
from tests.unit.api.live_values import instant, minute_fields, this_minute

KEY = {"X-API-Key": "the-key-of-these-tests"}
TRAFFIC = family("traffic")
TABLE = silver_5m(TRAFFIC)
READER = RecordReader(TRAFFIC)
MINUTE = timedelta(minutes=1)
PATH = "/v1/traffic/windows"

pytestmark = pytest.mark.usefixtures("_commits_are_seen_at_once")

Values = dict[datetime, list[float]]


class City:
    """Minutes of zones, in the hot view as the stream writes them and in the table as far as it is finished."""

    def __init__(self, catalog: SqlCatalog, view: View) -> None:
        self.table = catalog.load_table(TABLE.identifier)
        self.table.delete()
        self.view = view
        self.minutes: dict[str, Values] = {}

    def live(self, zone: str, start: datetime, values: list[float]) -> None:
        self.minutes.setdefault(zone, {})[start] = values
        key = f"zone:{zone}:{start:%Y-%m-%dT%H:%M}".encode()
        self.view.apply([READER.read(key, orjson.dumps(minute_fields(zone, start, values)))], {})

    def finish(self, until: datetime) -> None:
        """Write all windows that end up to ``until``, as one checkpoint does."""
        rows = [
            self.row(zone, end)
            for zone, minutes in self.minutes.items()
            for end in self.ends(minutes)
            if end <= until
        ]
        schema = self.table.schema().as_arrow()
        # some measures are whole numbers
        self.table.append(pa.Table.from_pylist(rows).select(schema.names).cast(schema))

    @staticmethod
    def ends(minutes: Values) -> list[datetime]:
        return sorted({start + n * MINUTE for start in minutes for n in range(1, 6)})

    def row(self, zone: str, end: datetime) -> dict[str, Any]:
        start = end - 5 * MINUTE
        inside = [values for begin, values in self.minutes[zone].items() if start <= begin < end]
        values = [value for each in inside for value in each]
        row: dict[str, Any] = {"zone": zone, "window_start": start, "window_end": end}
        row["event_count"] = sum(len(each) + 1 for each in inside)  # each minute has one event without values
        for measure in TRAFFIC.measures:
            row |= {
                f"{measure.name}_count": len(values),
                f"{measure.name}_min": min(values, default=None),
                f"{measure.name}_max": max(values, default=None),
                f"{measure.name}_mean": statistics.fmean(values) if values else None,
            }
        return row


@pytest.fixture
def city(own_catalog: SqlCatalog, view: View) -> City:
    return City(own_catalog, view)


@pytest.fixture(scope="module")
def client(hot_settings: Settings, own_catalog: SqlCatalog) -> Iterator[TestClient]:
    with TestClient(create_app(hot_settings, catalog_factory=lambda _: own_catalog), headers=KEY) as client:
        yield client


def get(client: TestClient, **parameters: Any) -> dict[str, Any]:
    answer = client.get(PATH, params=parameters)
    assert answer.status_code == 200, answer.text
    windows_model(TRAFFIC).model_validate_json(answer.content)
    body: dict[str, Any] = answer.json()
    return body


def place(row: dict[str, Any]) -> tuple[str, datetime]:
    return row["zone"], datetime.fromisoformat(row["window_end"])


def fill(city: City, newest: datetime) -> None:
    for zone, quiet in (("centre", 1), ("north", 3)):
        for age in range(7):
            if age != quiet:
                city.live(zone, newest - age * MINUTE, [float(age + 1), 10.0 * (age + 1)])


@pytest.mark.parametrize("age", range(6))
def test_each_window_comes_once_wherever_the_boundary_is(client: TestClient, city: City, age: int) -> None:
    newest = this_minute()
    fill(city, newest)
    boundary = newest - age * MINUTE
    city.finish(boundary)
    body = get(client, limit=300)

    assert datetime.fromisoformat(body["boundary"]) == boundary
    assert body["live_after"] == body["boundary"]
    wanted = {
        (zone, end)
        for zone, minutes in city.minutes.items()
        for end in city.ends(minutes)
        if end <= newest + MINUTE
    }
    assert sorted(map(place, body["rows"])) == sorted(wanted)
    for row in body["rows"]:
        zone, end = place(row)
        assert row["source"] == ("table" if end <= boundary else "live")
        assert (row["newest_event"] is None) == (row["source"] == "table")
        for name, value in city.row(zone, end).items():
            if name not in {"zone", "window_start", "window_end"}:
                assert row[name] == (pytest.approx(value) if value is not None else None), name
    starts = [row["window_start"] for row in body["rows"]]
    assert starts == sorted(starts, reverse=True)


def test_before_anything_is_finished_all_is_live(client: TestClient, city: City) -> None:
    newest = this_minute()
    city.live("centre", newest, [1.0])
    body = get(client)
    assert (body["snapshot_id"] is None) == (city.table.current_snapshot() is None)
    assert body["boundary"] is None
    assert [(place(row), row["source"]) for row in body["rows"]] == [(("centre", newest + MINUTE), "live")]


def test_windows_that_the_hot_view_no_longer_covers_are_not_made_up(client: TestClient, city: City) -> None:
    newest = this_minute()
    for age in range(12):
        city.live("centre", newest - age * MINUTE, [1.0])
    city.finish(newest - 9 * MINUTE)
    body = get(client, limit=300)
    live = [row for row in body["rows"] if row["source"] == "live"]
    assert body["live_after"] > body["boundary"]
    assert {place(row)[1] for row in live} == {
        end
        for end in city.ends(city.minutes["centre"])
        if datetime.fromisoformat(body["live_after"]) < end <= newest + MINUTE
    }
    assert all(row["event_count"] == 10 for row in live), "five minutes of two events each"


def test_zone_range_and_limit(client: TestClient, city: City) -> None:
    newest = this_minute()
    fill(city, newest)
    city.finish(newest - 2 * MINUTE)
    whole = get(client, limit=300)["rows"]
    assert get(client, zone="north", limit=300)["rows"] == [row for row in whole if row["zone"] == "north"]
    since, until = newest - 7 * MINUTE, newest - 5 * MINUTE
    inside = get(client, **{"from": instant(since), "to": instant(until)}, limit=300)["rows"]
    assert {row["source"] for row in inside} == {"table", "live"}
    assert inside == [row for row in whole if since <= datetime.fromisoformat(row["window_start"]) < until]
    limited = get(client, limit=3)
    assert (limited["rows"], limited["row_count"], limited["has_more"]) == (whole[:3], 3, True)
    assert get(client, zone="nowhere")["rows"] == []


def test_without_redis_the_finished_windows_are_answered(
    city: City, own_catalog: SqlCatalog, hot_settings: Settings
) -> None:
    newest = this_minute()
    fill(city, newest)
    city.finish(newest)
    unreachable = hot_settings.model_copy(update={"redis_port": 1})
    with TestClient(create_app(unreachable, catalog_factory=lambda _: own_catalog), headers=KEY) as client:
        body = get(client, limit=300)
    assert (body["live"], body["live_after"]) == (False, None)
    assert body["rows"]
    assert {row["source"] for row in body["rows"]} == {"table"}


@pytest.mark.parametrize("parameter", ["from", "to", "limit"])
@pytest.mark.parametrize("text", ["yesterday", "", "2026-03-01", "\x00", "1e9"])
def test_what_is_no_range_is_refused(client: TestClient, parameter: str, text: str) -> None:
    answer: httpx.Response = client.get(PATH, params={parameter: text})
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_unknown_families_are_answered_with_near_ones(client: TestClient) -> None:
    answer = client.get("/v1/trafic/windows")
    assert answer.status_code == 404
    assert "did you mean traffic" in answer.json()["detail"]


@pytest.mark.parametrize("member", families(), ids=lambda member: member.name)
def test_the_documented_example_fits(client: TestClient, member: Any) -> None:
    document = client.get("/openapi.json").json()
    answer = document["paths"][f"/v1/{member.name}/windows"]["get"]["responses"]["200"]
    name = answer["content"]["application/json"]["schema"]["$ref"].split("/")[-1]
    schema = document["components"]["schemas"][name]
    validator = Draft202012Validator({**schema, "components": document["components"]})
    assert schema["examples"]
    for example in schema["examples"]:
        validator.validate(example)
    validator.validate(client.get(f"/v1/{member.name}/windows").json())
