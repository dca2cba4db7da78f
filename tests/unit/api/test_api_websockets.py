"""Who may follow live values over a WebSocket, and how one who may not is told."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from fastapi.testclient import TestClient
from pyiceberg.catalog.sql import SqlCatalog
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from api.app import create_app
from api.latest import websocket
from hot_view.view import View
from resources.api_keys import Action, KeyFile, issue
from settings import Settings
from tests.unit.api.live_values import KEY, reading
from tests.unit.hot_view.valkey_server import valkey_settings

PATH = "/v1/traffic/stream"
READABLE = {"tables": ("*",), "actions": (Action.READ,)}
LIVE = {"tables": ("bronze.traffic_events",), "actions": (Action.LIVE,)}


def made(settings: Settings, scope: dict[str, Any]) -> str:
    key, text = issue("test", datetime.now(UTC), **scope)
    KeyFile(settings.api_keys_file).add(key)
    return text


@pytest.mark.parametrize("how", ["X-API-Key", "Authorization", "message"])
def test_a_key_is_sent_in_a_header_or_in_the_first_message(
    keyless: TestClient, keyed_settings: Settings, server: redis.Redis, view: View, how: str
) -> None:
    key = made(keyed_settings, LIVE)
    headers = {"X-API-Key": {"X-API-Key": key}, "Authorization": {"Authorization": f"Bearer {key}"}}.get(how, {})
    view.apply([first := reading("t-1")], {})
    ((first_id, _),) = server.xrange("hot:changes:traffic")
    view.apply([second := reading("t-2")], {})
    with keyless.websocket_connect(f"{PATH}?last_event_id={first_id.decode()}", headers=headers) as connection:
        if how == "message":
            connection.send_json({"key": key})
        assert connection.receive_json() == {"last_event_id": first_id.decode(), "events": []}
        (event,) = connection.receive_json()["events"]
    assert (event["event"], event["data"]["sensor_id"]) == ("reading", "t-2")
    assert first.document != second.document


@pytest.mark.parametrize(
    ("path", "key", "answered"),
    [
        (PATH, "wrong", (401, "X-API-Key")),
        (PATH, "", (401, "X-API-Key")),
        (PATH, READABLE, (403, "--action live")),
        ("/v1/weather/stream", LIVE, (403, "--table bronze.weather_events")),
        ("/v1/trafic/stream", LIVE, (404, "did you mean traffic")),
        (f"{PATH}?zonee=a", LIVE, (422, "did you mean zone")),
        (f"{PATH}?zone=a&zone=b", LIVE, (422, "given 2 times")),
        (f"{PATH}?kind=sensor", LIVE, (422, "kind")),
        (f"{PATH}?last_event_id=yesterday", LIVE, (422, "last_event_id")),
        (f"{PATH}?key=secret", LIVE, (422, "unknown parameter")),
    ],
)
def test_what_is_wrong_with_a_request_is_answered_as_for_any_other(
    keyless: TestClient, keyed_settings: Settings, path: str, key: str | dict[str, Any], answered: tuple[int, str]
) -> None:
    sent = key if isinstance(key, str) else made(keyed_settings, key)
    connection = keyless.websocket_connect(path, headers={"X-API-Key": sent})
    with pytest.raises(WebSocketDenialResponse) as denied, connection:
        pass
    status, says = answered
    assert denied.value.status_code == status
    assert denied.value.headers["Content-Type"] == "application/problem+json"
    problem = denied.value.json()
    assert says in problem["detail"]
    assert problem["request_id"] == denied.value.headers["X-Request-ID"]


@pytest.mark.parametrize(
    ("message", "code", "says"),
    [
        ({"key": "wrong"}, 3000, "send a valid key"),
        ({"key": READABLE}, 3003, "may read"),
        ({"key": "k", "more": 1}, 3000, "first message"),
        ({"key": "k" * 20_000}, 3000, "first message"),
        (["key"], 3000, "first message"),
    ],
)
def test_what_is_wrong_with_the_first_message_closes_the_connection(
    keyless: TestClient, keyed_settings: Settings, message: Any, code: int, says: str
) -> None:
    if message == {"key": READABLE}:
        message = {"key": made(keyed_settings, READABLE)}
    with keyless.websocket_connect(PATH) as connection:
        connection.send_json(message)
        with pytest.raises(WebSocketDisconnect) as closed:
            connection.receive_json()
    assert (closed.value.code, says in closed.value.reason) == (code, True)
    assert len(closed.value.reason.encode()) <= 123


def test_bytes_are_no_first_message(keyless: TestClient) -> None:
    with keyless.websocket_connect(PATH) as connection:
        connection.send_bytes(b'{"key": "k"}')
        with pytest.raises(WebSocketDisconnect) as closed:
            connection.receive_json()
    assert closed.value.code == 3000


def test_who_sends_no_key_is_not_waited_for(keyless: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "KEY_WITHIN_S", 0.05)
    with keyless.websocket_connect(PATH) as connection, pytest.raises(WebSocketDisconnect) as closed:
        connection.receive_json()
    assert closed.value.code == 3008


def test_while_redis_is_away_a_client_is_told_to_try_later(own_catalog: SqlCatalog, tmp_path: Path) -> None:
    settings = valkey_settings(tmp_path, api_key=KEY["X-API-Key"])
    with TestClient(create_app(settings, catalog_factory=lambda _: own_catalog)) as client:
        connection = client.websocket_connect(PATH, headers=KEY)
        with pytest.raises(WebSocketDenialResponse) as denied, connection:
            pass
        assert denied.value.status_code == 503
        assert int(denied.value.headers["Retry-After"]) > 0
        with client.websocket_connect(PATH) as connection, pytest.raises(WebSocketDisconnect) as closed:
            connection.send_json({"key": KEY["X-API-Key"]})
            connection.receive_json()
    assert (closed.value.code, "cannot be read now" in closed.value.reason) == (1013, True)


def test_a_connection_is_a_line_of_the_log(keyless: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="api.access")
    with keyless.websocket_connect(PATH) as connection:
        connection.send_json({"key": "never-in-a-log"})
        with pytest.raises(WebSocketDisconnect):
            connection.receive_json()
    (line,) = [record for record in caplog.records if record.name == "api.access"]
    fields = next(value for value in vars(line).values() if isinstance(value, dict) and "route" in value)
    assert (fields["route"], fields["status"], fields["close_code"]) == (PATH, 101, 3000)
    assert "never-in-a-log" not in caplog.text
