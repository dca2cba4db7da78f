"""A real server, emptied before each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from resources.hot_view import connect
from settings import Settings
from tests.unit.hot_view.valkey_server import running_valkey, valkey_settings


@pytest.fixture(scope="session")
def hot_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    settings = valkey_settings(Path(tmp_path_factory.mktemp("valkey")))
    with running_valkey(settings):
        yield settings


@pytest.fixture(scope="session")
def server(hot_settings: Settings) -> Iterator[redis.Redis]:
    with connect(hot_settings) as client:
        yield client


@pytest.fixture
def client(server: redis.Redis) -> redis.Redis:
    server.flushall()
    return server
