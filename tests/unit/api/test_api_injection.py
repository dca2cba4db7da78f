"""Text that means something to some interpreter, in every documented parameter and header: it stays text.

What is asked for by filters of rows and aggregates in detail is in ``test_api_errors``.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from tests.unit.api.conftest import TABLE
from tests.unit.api.test_api_errors import HOSTILE
from tests.unit.hot_view.valkey_server import valkey_settings

SAMPLES = {"identifier": TABLE, "sensor_id": "t-1"}
"""Of parameters in a path."""
HEADERS = ["If-None-Match", "Accept", "X-Request-ID", "X-API-Key", "Authorization", "Origin", "Host"]
REDIS = ["*", "hot:*", "t-1\r\nFLUSHALL\r\n", "t-1\x00FLUSHALL"]
"""Wildcards and commands of Redis, beside what others take for theirs."""


def documented_parameters() -> Iterator[tuple[str, str, str]]:
    """Route, parameter and where it stands; of tables and families that are alike, one."""
    document = create_app(valkey_settings(Path("unused"))).openapi()
    for path, methods in document["paths"].items():
        others = any(part in path for part in ("/weather/", "/energy/", "silver.", "gold.", "/stream"))
        alike = "bronze." in path and TABLE not in path
        if others or alike:
            continue
        for parameter in methods["get"].get("parameters", []):
            if parameter["name"] != "filters":
                yield path, parameter["name"], parameter["in"]


def judge(answer: httpx.Response, client: TestClient, route: str) -> None:
    assert answer.status_code < 500, answer.text
    documented: dict[str, Any] = client.app.openapi()["paths"][route]["get"]["responses"]  # type: ignore[attr-defined]
    assert str(answer.status_code) in {*documented, "304", "404"}, answer.text
    assert "Traceback" not in answer.text
    if answer.status_code >= 400:
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert len(answer.content) < 5000


@pytest.mark.parametrize(("route", "name", "place"), sorted(documented_parameters()))
def test_hostile_text_in_a_parameter_is_only_text(
    live_client: TestClient, route: str, name: str, place: str
) -> None:
    for text in [*HOSTILE, *REDIS]:
        values = {**SAMPLES, name: text} if place == "path" else SAMPLES
        path = route
        for parameter, value in values.items():
            path = path.replace(f"{{{parameter}}}", quote(value[:300], safe=""))
        answer = live_client.get(path, params={name: text} if place == "query" else {})
        judge(answer, live_client, route)
        if route.endswith("/latest") and name in {"zone", "sensor_id"}:
            assert answer.status_code != 200 or not answer.json()["readings"]
    assert live_client.get("/v1/traffic/sensors/t-1/latest").status_code == 200


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("route", [f"/v1/tables/{TABLE}/rows", "/v1/traffic/latest", "/v1/tables"])
def test_hostile_text_in_a_header_is_only_text(live_client: TestClient, route: str, name: str) -> None:
    for text in [*HOSTILE, *REDIS]:
        answer = live_client.get(route, headers={name: text.encode()})
        judge(answer, live_client, route)
        if name in {"X-API-Key"}:
            assert answer.status_code == 401
        if name == "X-Request-ID":
            assert not set(answer.headers[name]) & set("\r\n\0{}$'\" ")
        assert "access-control-allow-origin" not in answer.headers
