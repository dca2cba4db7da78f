"""Requests like one that was answered before: the same answers, without routing, for those who may have them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pyarrow import ipc
from pyiceberg.catalog.sql import SqlCatalog

from api.app import create_app
from api.catalog import CatalogUnavailableError
from api.prepared import MOST_BYTES, MOST_TARGET_BYTES, PreparedRequests
from api.rows.streaming import StreamedAnswer
from resources.api_keys import Action, KeyFile, issue
from settings import Settings
from tests.unit.api.conftest import KEY

ROWS = "/v1/tables/bronze.traffic_events/rows"
LATEST = "/v1/traffic/sensors/t-1/latest"
OF_THE_MOMENT = {"Lakehouse-Freshness-Ms", "X-Request-ID"}
"""Headers that differ between two answers."""


@pytest.fixture
def app(settings: Settings, catalog: SqlCatalog) -> FastAPI:
    return create_app(settings, catalog_factory=lambda _: catalog)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, headers={"X-API-Key": KEY}) as client:
        yield client


@contextmanager
def without_routes(app: FastAPI) -> Iterator[None]:
    """As long as this lasts nothing is answered but what was prepared."""
    kept = app.router.routes[:]
    app.router.routes.clear()
    try:
        yield
    finally:
        app.router.routes.extend(kept)


def prepared(app: FastAPI) -> PreparedRequests:
    found: PreparedRequests = app.state.prepared
    return found


@pytest.mark.parametrize(
    "path",
    [
        f"{ROWS}?zone=centre&order=-event_time&limit=5&format=csv",
        f"{ROWS}?limit=all&format=ndjson",
        f"{ROWS}?columns=event_id,zone&order=event_id&limit=7&format=arrow",
        "/v1/tables/bronze.traffic_events/aggregate?group_by=zone&measures=count,avg(avg_speed_kmh)&format=csv",
    ],
)
def test_the_second_answer_is_the_first_without_routing(app: FastAPI, client: TestClient, path: str) -> None:
    first = client.get(path)
    assert first.status_code == 200, first.text
    with without_routes(app):
        assert client.get(f"{path}&limit=3").status_code == 404
        second = client.get(path)
    assert (second.status_code, second.content) == (200, first.content)
    assert {k: v for k, v in second.headers.items() if k not in map(str.lower, OF_THE_MOMENT)} == {
        k: v for k, v in first.headers.items() if k not in map(str.lower, OF_THE_MOMENT)
    }


def test_the_format_that_a_client_accepts_is_part_of_what_is_alike(app: FastAPI, client: TestClient) -> None:
    accepted = ["text/csv", "application/json", "application/vnd.apache.arrow.stream"]
    path = f"{ROWS}?order=event_id&limit=3"
    for each in accepted:
        assert client.get(path, headers={"Accept": each}).headers["Content-Type"].startswith(each)
    with without_routes(app):
        for each in accepted:
            assert client.get(path, headers={"Accept": each}).headers["Content-Type"].startswith(each)
        arrow = client.get(path, headers={"Accept": accepted[2]})
        assert client.get(path, headers={"Accept": "application/x-ndjson"}).status_code == 404
    assert ipc.open_stream(arrow.content).read_all().num_rows == 3


def test_a_field_that_is_there_twice_is_not_taken_for_one(app: FastAPI, client: TestClient) -> None:
    path = f"{ROWS}?order=event_id&limit=3"
    assert client.get(path, headers={"Accept": "text/csv"}).headers["Content-Type"].startswith("text/csv")
    del client.headers["Accept"]
    twice = [("Accept", "text/csv"), ("Accept", "application/x-ndjson")]
    with without_routes(app):
        assert client.get(path, headers=twice[:1]).status_code == 200
        assert client.get(path, headers=twice).status_code == 404
    assert client.get(path, headers=twice).status_code == 200
    with without_routes(app):
        assert client.get(path, headers=twice).status_code == 404


def test_what_the_client_has_already_is_not_sent(app: FastAPI, client: TestClient) -> None:
    first = client.get(f"{ROWS}?limit=3")
    with without_routes(app):
        known = client.get(f"{ROWS}?limit=3", headers={"If-None-Match": first.headers["ETag"]})
        other = client.get(f"{ROWS}?limit=3", headers={"If-None-Match": '"another"'})
    assert (known.status_code, known.content) == (304, b"")
    assert (other.status_code, other.json()["rows"]) == (200, first.json()["rows"])


def test_what_fails_in_the_middle_of_an_answer_begins_no_other(
    app: FastAPI, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{ROWS}?limit=all&format=ndjson"
    assert client.get(path).status_code == 200
    pieces = iter([b"{}\n"])

    async def fail_after_the_first(_: StreamedAnswer) -> bytes:
        if (piece := next(pieces, None)) is None:
            raise CatalogUnavailableError
        return piece

    monkeypatch.setattr(StreamedAnswer, "_next", fail_after_the_first)
    with without_routes(app), pytest.raises(CatalogUnavailableError):
        client.get(path)
    # this time the first one fails
    with without_routes(app):
        assert client.get(path).status_code == 503


def test_other_methods_are_not_what_was_prepared(client: TestClient) -> None:
    assert client.get(f"{ROWS}?limit=3").status_code == 200
    assert client.post(f"{ROWS}?limit=3").status_code == 405
    assert client.head(f"{ROWS}?limit=3").status_code == 405


def test_what_is_wrong_is_not_kept(app: FastAPI, client: TestClient) -> None:
    assert client.get(f"{ROWS}?limit=x").status_code == 422
    with without_routes(app):
        assert client.get(f"{ROWS}?limit=x").status_code == 404


@pytest.mark.usefixtures("server")
def test_who_asks_is_looked_at_each_time(keyed_settings: Settings, catalog: SqlCatalog) -> None:
    app = create_app(keyed_settings, catalog_factory=lambda _: catalog)
    file = KeyFile(keyed_settings.api_keys_file)
    now = datetime.now(UTC)

    def made(table: str, *actions: Action, rate: str = "unlimited") -> tuple[str, dict[str, str]]:
        key, text = issue("test", now, tables=(table,), actions=actions, rate=rate)
        file.add(key)
        return key.id, {"X-API-Key": text}

    reader, reads = made("bronze.*", Action.READ)
    _, follows = made("bronze.*", Action.LIVE)
    _, elsewhere = made("gold.*", Action.READ, Action.LIVE)
    _, seldom = made("bronze.*", Action.READ, rate="2/hour")
    with TestClient(app) as keyless:
        assert keyless.get(f"{ROWS}?limit=3", headers=reads).status_code == 200
        assert keyless.get(LATEST, headers=follows).status_code == 404, "there is no such sensor"
        with without_routes(app):
            assert keyless.get(f"{ROWS}?limit=3").status_code == 401
            for headers, rows, latest in ((reads, 200, 403), (follows, 403, 404), (elsewhere, 403, 403)):
                assert keyless.get(f"{ROWS}?limit=3", headers=headers).status_code == rows
                answer = keyless.get(LATEST, headers=headers)
                assert answer.status_code == latest
                assert ("silent" in answer.text or "no traffic sensor" in answer.text) == (latest == 404)
            statuses = [keyless.get(f"{ROWS}?limit=3", headers=seldom).status_code for _ in range(3)]
            assert statuses == [200, 200, 429]
            file.replace(reader, lambda key: key.model_copy(update={"revoked_at": now}))
            assert keyless.get(f"{ROWS}?limit=3", headers=reads).status_code == 401


@pytest.mark.usefixtures("server")
def test_a_request_is_noted_as_that_of_its_route(
    keyed_settings: Settings, catalog: SqlCatalog, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(keyed_settings, catalog_factory=lambda _: catalog)
    with TestClient(app, headers={"X-API-Key": KEY}) as client, caplog.at_level("INFO", "api.access"):
        client.get(f"{ROWS}?limit=3")
        with without_routes(app):
            client.get(f"{ROWS}?limit=3")
    first, second = [record.fields for record in caplog.records if record.name == "api.access"]  # type: ignore[attr-defined]
    same = ("method", "route", "status", "key_id", "action", "table", "snapshot_id")
    assert [second[name] for name in same] == [first[name] for name in same]
    assert second["route"] == ROWS


def test_memory_is_bounded(app: FastAPI, client: TestClient) -> None:
    long = f"{ROWS}?zone={'z' * MOST_TARGET_BYTES}&limit=1"
    assert client.get(long).status_code == 200
    with without_routes(app):
        assert client.get(long).status_code == 404
    kept = prepared(app)._kept
    for number in range(300):
        client.get(f"{ROWS}?zone={number:0900}&limit=1&format=csv")
        assert kept.currsize <= MOST_BYTES
    assert kept.maxsize == MOST_BYTES
    client.get(f"{ROWS}?limit=2")
    kept.clear()
    with without_routes(app):
        assert client.get(f"{ROWS}?limit=2").status_code == 404
