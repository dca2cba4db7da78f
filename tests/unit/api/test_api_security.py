"""Who gets in: every route under /v1 asks for the key, the others do not."""

import logging
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.app import create_app
from contracts import families, served_tables
from settings import Settings

KEY = "the-key-of-these-tests"
ROUTES = [
    "/v1/tables",
    "/v1/tables/bronze.traffic_events",
    "/v1/tables/no.such_table",
    "/v1/tables/no.such_table/rows",
    "/v1/tables/bronze.traffic_events/rows?no_such=parameter",
    "/v1/quality",
    "/v1/quality/report",
    "/v1/quality/bronze.traffic_events",
    "/v1/tables/no.such_table/aggregate",
    *(f"/v1/tables/{table.identifier}/{view}" for table in served_tables() for view in ("rows", "aggregate")),
    *(
        f"/v1/{family.name}/{view}"
        for family in families()
        for view in ("latest", "stream", "windows", "sensors/s1/latest")
    ),
]
WRONG_HEADERS: list[dict[str, Any]] = [
    {},
    {"X-API-Key": ""},
    {"X-API-Key": KEY[:-1]},
    {"X-API-Key": f"{KEY}x"},
    {"X-API-Key": "schlüssel".encode()},
    {"Authorization": KEY},
    {"Authorization": f"Basic {KEY}"},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer wrong"},
    # a wrong key is not made good by a right one beside it
    {"X-API-Key": "wrong", "Authorization": f"Bearer {KEY}"},
]


@pytest.fixture
def anonymous(app: FastAPI, client: TestClient) -> TestClient:
    assert client.headers  # its lifespan is the one that runs
    return TestClient(app)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("headers", WRONG_HEADERS)
def test_without_the_key_nothing_is_answered(anonymous: TestClient, route: str, headers: dict[str, Any]) -> None:
    answer = anonymous.get(route, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "X-API-Key" in answer.json()["detail"]


def test_the_routes_above_are_all_that_the_api_has(app: FastAPI) -> None:
    paths = {path for path in app.openapi()["paths"] if path.startswith("/v1")}
    paths = {path.replace("quality/{identifier}", "quality/bronze.traffic_events") for path in paths}
    known = {route.partition("?")[0] for route in ROUTES}
    assert {path.replace("{sensor_id}", "s1") for path in paths} - {"/v1/tables/{identifier}"} <= known


@pytest.mark.parametrize("headers", [{"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}])
def test_with_the_key_both_ways_are_answered(anonymous: TestClient, headers: dict[str, str]) -> None:
    assert anonymous.get("/v1/tables", headers=headers).status_code == 200


@pytest.mark.parametrize("route", ["/health/live", "/health/ready", "/docs", "/openapi.json"])
def test_health_and_documentation_need_no_key(anonymous: TestClient, route: str) -> None:
    assert anonymous.get(route).status_code == 200


def test_every_operation_under_v1_documents_the_key(app: FastAPI) -> None:
    for path, operations in app.openapi()["paths"].items():
        for operation in operations.values():
            assert bool(operation.get("security")) == path.startswith("/v1"), path
            assert ("401" in operation["responses"]) == path.startswith("/v1"), path


def test_the_key_is_in_no_log(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    def unreachable(_: Settings) -> Any:
        raise ConnectionError("connection refused")

    caplog.set_level(logging.DEBUG)
    with TestClient(create_app(settings, catalog_factory=unreachable), headers={"X-API-Key": KEY}) as client:
        for route in ROUTES:
            client.get(route)
    assert "connection refused" in caplog.text
    assert KEY not in caplog.text
