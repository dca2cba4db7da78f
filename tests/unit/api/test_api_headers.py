"""Fields of all answers for browsers and caches, and what pages of other origins may."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from pyiceberg.catalog.sql import SqlCatalog

from api.app import create_app
from settings import Settings
from tests.unit.api.conftest import KEY

ROWS = "/v1/tables/bronze.traffic_events/rows?limit=1"
MAP = "https://map.example.org"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/health/live", 200),
        (ROWS, 200),
        (f"{ROWS}&format=csv", 200),
        ("/v1/tables", 200),
        ("/nothing", 404),
        (f"{ROWS}&no=1", 422),
        ("/", 200),
        ("/docs", 200),
        ("/openapi.json", 200),
    ],
)
def test_no_answer_is_taken_for_what_it_is_not(client: TestClient, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.headers.get_list("X-Content-Type-Options") == ["nosniff"]
    assert answer.headers.get_list("Referrer-Policy") == ["no-referrer"]
    (policy,) = answer.headers.get_list("Content-Security-Policy")
    assert "frame-ancestors 'none'" in policy
    if not answer.headers["Content-Type"].startswith("text/html"):
        assert policy.startswith("default-src 'none'")
    (kept,) = answer.headers.get_list("Cache-Control")
    assert kept.startswith(("no-store", "private", "no-cache"))


def test_an_unexpected_error_has_them_too(
    settings: Settings, catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("api.rows.service.matching_rows", fail)
    app = create_app(settings, catalog_factory=lambda _: catalog)
    with TestClient(app, headers={"X-API-Key": KEY}, raise_server_exceptions=False) as client:
        answer = client.get(ROWS)
    assert answer.status_code == 500
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_an_answer_is_not_for_caches_that_others_use(client: TestClient) -> None:
    assert client.get("/v1/tables").headers["Cache-Control"] == "no-store"
    assert client.get(ROWS).headers["Cache-Control"] == "private, no-cache"


@pytest.fixture(scope="module")
def open_to_map(settings: Settings, catalog: SqlCatalog) -> Iterator[TestClient]:
    own = settings.model_copy(update={"api_cors_origins": (MAP,)})
    with TestClient(create_app(own, catalog_factory=lambda _: catalog)) as client:
        yield client


def preflight(client: TestClient, origin: str, method: str = "GET") -> tuple[int, str | None]:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "x-api-key, if-none-match",
    }
    answer = client.options(ROWS, headers=asked)
    return answer.status_code, answer.headers.get("Access-Control-Allow-Origin")


def test_by_default_pages_of_other_origins_read_nothing(client: TestClient) -> None:
    assert preflight(client, MAP) == (405, None)
    answer = client.get(ROWS, headers={"Origin": MAP})
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_pages_of_an_origin_that_is_named_read_answers_and_what_they_say(open_to_map: TestClient) -> None:
    assert preflight(open_to_map, MAP) == (200, MAP)
    answer = open_to_map.get(ROWS, headers={"Origin": MAP, "X-API-Key": KEY})
    assert answer.headers["Access-Control-Allow-Origin"] == MAP
    exposed = {name.strip() for name in answer.headers["Access-Control-Expose-Headers"].split(",")}
    assert {name for name in answer.headers if name.startswith("lakehouse-")} <= {name.lower() for name in exposed}
    assert {"ETag", "RateLimit", "Retry-After", "X-Request-ID"} <= exposed
    assert "Access-Control-Allow-Credentials" not in answer.headers
    refused = open_to_map.get(ROWS, headers={"Origin": MAP})
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (401, MAP)


@pytest.mark.parametrize("origin", ["https://map.example.org.evil.example", "http://map.example.org", "null", "*"])
def test_those_of_another_do_not(open_to_map: TestClient, origin: str) -> None:
    assert preflight(open_to_map, origin) == (400, None)
    answer = open_to_map.get(ROWS, headers={"Origin": origin, "X-API-Key": KEY})
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_pages_of_others_send_nothing_but_questions(open_to_map: TestClient) -> None:
    assert preflight(open_to_map, MAP, "POST")[0] == 400
