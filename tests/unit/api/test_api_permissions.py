"""A connection that stays open ends when the key that opened it is no longer valid for it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from api.latest import events
from resources.api_keys import Action, ApiKey, KeyFile, issue
from settings import Settings
from tests.unit.api.live_values import until

PATH = "/v1/traffic/stream"
TABLE = "bronze.traffic_events"


@pytest.fixture(autouse=True)
def _looked_at_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(events, "PERMITTED_FOR_S", 0.05)


def made(settings: Settings) -> tuple[ApiKey, dict[str, str]]:
    key, text = issue("test", datetime.now(UTC), tables=(TABLE,), actions=(Action.LIVE,))
    KeyFile(settings.api_keys_file).add(key)
    return key, {"X-API-Key": text}


def revoked(key: ApiKey) -> ApiKey:
    return key.model_copy(update={"revoked_at": datetime.now(UTC)})


def expired(key: ApiKey) -> ApiKey:
    return key.model_copy(update={"expires_at": datetime.now(UTC) - timedelta(seconds=1)})


def for_another_table(key: ApiKey) -> ApiKey:
    return key.model_copy(update={"tables": ("bronze.energy_events",)})


Change = Callable[[ApiKey], ApiKey]
CHANGES = pytest.mark.parametrize("change", [revoked, expired, for_another_table])


@CHANGES
def test_server_sent_events_end_and_say_why(
    keyless: TestClient, keyed_settings: Settings, server: redis.Redis, change: Change
) -> None:
    key, headers = made(keyed_settings)
    with ThreadPoolExecutor(1) as pool:
        answered = pool.submit(keyless.get, PATH, headers=headers)
        until(lambda: any(each["cmd"] == "xread" for each in server.client_list()), "the stream is open")
        KeyFile(keyed_settings.api_keys_file).replace(key.id, change)
        answer = answered.result()
    assert answer.status_code == 200
    *_, last, nothing = answer.text.split("\n\n")
    assert nothing == ""
    assert last.startswith('event: end\ndata: {"reason":"refused"')
    assert keyless.get(PATH, headers=headers).status_code in {401, 403}


@CHANGES
@pytest.mark.usefixtures("server")
def test_a_websocket_is_closed(keyless: TestClient, keyed_settings: Settings, change: Change) -> None:
    key, headers = made(keyed_settings)
    with keyless.websocket_connect(PATH, headers=headers) as connection:
        assert connection.receive_json()["events"] == []
        KeyFile(keyed_settings.api_keys_file).replace(key.id, change)
        with pytest.raises(WebSocketDisconnect) as closed:
            frames(connection)
    assert closed.value.code == 3000


@pytest.mark.usefixtures("server")
def test_while_the_keys_cannot_be_read_nothing_ends(keyless: TestClient, keyed_settings: Settings) -> None:
    key, headers = made(keyed_settings)
    with keyless.websocket_connect(PATH, headers=headers) as connection:
        content = keyed_settings.api_keys_file.read_bytes()
        keyed_settings.api_keys_file.write_bytes(content[:-20])
        for _ in range(5):
            assert connection.receive_json()["events"] == []
        keyed_settings.api_keys_file.write_bytes(content)
        KeyFile(keyed_settings.api_keys_file).replace(key.id, revoked)
        with pytest.raises(WebSocketDisconnect):
            frames(connection)


def frames(connection: Any) -> None:
    """Read until the connection is closed, which takes few."""
    for _ in range(1000):
        connection.receive_json()
