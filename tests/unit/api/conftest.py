"""The API over a real catalog without services: PyIceberg's SQL catalog on SQLite, files in a temporary folder."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import redis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pyarrow import fs
from pyiceberg.catalog.sql import SqlCatalog

from api.app import create_app
from contracts import all_tables
from hot_view.view import View
from resources.catalog import ensure_tables
from resources.hot_view import connect
from settings import Settings
from tests.unit.hot_view.valkey_server import running_valkey, valkey_settings

KEY = "the-key-of-these-tests"
TABLE = "bronze.traffic_events"
START = datetime(2026, 3, 1, tzinfo=UTC)
APPENDS, ROWS_PER_APPEND = 7, 60

NOTHING_KEPT = {
    "api_file_list_cache": 0,
    "api_batch_cache": 0,
    "api_answer_cache": 0,
    "api_shared_answer_cache": 0,
}
"""Settings of an application that reads for each question what it needs."""


@pytest.fixture(scope="session", autouse=True)
def _patience() -> Iterator[None]:
    """Answers wait for catalog and Redis, and for what else is known of a table: busy machines take their time."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("states.FIRST_PATIENCE_S", "states.PATIENCE_S", "metrics.PATIENCE_S"):
            patch.setattr(f"api.tables.{name}", 60.0)
        patch.setattr("api.catalog.METADATA_TIMEOUT_S", 60.0)
        patch.setattr("api.latest.reader.ANSWER_WITHIN_S", 30.0)
        yield


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    unused = "not-used-by-these-tests"
    return Settings(
        home=tmp_path_factory.mktemp("home"),
        toolchain=tmp_path_factory.mktemp("toolchain"),
        s3_access_key=unused,
        s3_secret_key=unused,
        redis_password=unused,
        api_key=KEY,
        api_max_rows=300,
        api_shared_answer_cache=0,
        _env_file=None,
    )


@pytest.fixture(scope="session")
def events() -> list[list[dict[str, Any]]]:
    """Appends to the table: values from small sets, so that filters match and orders have ties."""
    pick = random.Random(7)
    offset = iter(range(10_000))
    appends = []
    for append in range(APPENDS):
        rows = []
        for _ in range(ROWS_PER_APPEND):
            number = next(offset)
            # the appends overlap in time, as those of a stream do, and span three days
            time = START + timedelta(hours=9 * append, microseconds=pick.randrange(20) * 3_600_000_001)
            rows.append(
                {
                    "event_id": f"event-{number}",
                    "sensor_id": f"traffic-{pick.randrange(5):04}",
                    "event_time": time,
                    "zone": pick.choice(["centre", "north", "Über, 'quoted' \" zone", None]),
                    "latitude": pick.choice([52.5, -0.0, 0.0, None]),
                    "longitude": 13.4,
                    "vehicle_count": pick.choice([0, 1, 2, 50, 2**53 + 1, None]),
                    "avg_speed_kmh": pick.choice([0.0, 0.1, 30.25, 299.99, None]),
                    "occupancy_ratio": pick.random(),
                    "kafka_partition": number % 3,
                    "kafka_offset": number // 3,
                    "kafka_time": time + timedelta(milliseconds=pick.randrange(1000)),
                }
            )
        appends.append(rows)
    return appends


@pytest.fixture(scope="session")
def catalog(
    settings: Settings, events: list[list[dict[str, Any]]], tmp_path_factory: pytest.TempPathFactory
) -> SqlCatalog:
    folder: Path = tmp_path_factory.mktemp("warehouse")
    catalog = SqlCatalog("lakehouse", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    ensure_tables(catalog, all_tables(), commit_retries=settings.commit_retries)
    table = catalog.load_table(TABLE)
    for rows in events:
        table.append(pa.Table.from_pylist(rows, schema=table.schema().as_arrow()))
    return catalog


@pytest.fixture(scope="session")
def store_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the object store holds."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def app(settings: Settings, catalog: SqlCatalog, store_folder: Path) -> FastAPI:
    store = fs.SubTreeFileSystem(str(store_folder), fs.LocalFileSystem())
    return create_app(settings, catalog_factory=lambda _: catalog, store_factory=lambda _: store)


@pytest.fixture(scope="session")
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, headers={"X-API-Key": KEY}) as client:
        yield client


@pytest.fixture
def forgetful(settings: Settings, catalog: SqlCatalog) -> Iterator[TestClient]:
    """A client of an application that keeps nothing."""
    without = settings.model_copy(update=NOTHING_KEPT)
    with TestClient(create_app(without, catalog_factory=lambda _: catalog), headers={"X-API-Key": KEY}) as client:
        yield client


@pytest.fixture(scope="module")
def own_catalog(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> SqlCatalog:
    """All tables, empty, for the tests of one module to write to."""
    folder: Path = tmp_path_factory.mktemp("own_warehouse")
    catalog = SqlCatalog("lakehouse", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    ensure_tables(catalog, all_tables(), commit_retries=settings.commit_retries)
    return catalog


@pytest.fixture
def _commits_are_seen_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.catalog.Shared.get", lambda self: self._load())


@pytest.fixture(scope="module")
def hot_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a running server for the hot view."""
    settings = valkey_settings(Path(tmp_path_factory.mktemp("valkey")), api_key=KEY)
    with running_valkey(settings):
        yield settings


@pytest.fixture(scope="module")
def keyed_settings(hot_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Those of that server, and a file of keys of their own."""
    folder: Path = tmp_path_factory.mktemp("keys")
    return hot_settings.model_copy(update={"api_keys_file": folder / "api-keys.json"})


@pytest.fixture(scope="module")
def keyless(keyed_settings: Settings, own_catalog: SqlCatalog) -> Iterator[TestClient]:
    """A client of that API that sends no key by itself."""
    with TestClient(create_app(keyed_settings, catalog_factory=lambda _: own_catalog)) as client:
        yield client


@pytest.fixture
def server(hot_settings: Settings) -> Iterator[redis.Redis]:
    """That server, empty."""
    with connect(hot_settings) as client:
        client.flushall()
        yield client


@pytest.fixture
def view(server: redis.Redis) -> View:
    view = View(server)
    view.open()
    return view


@pytest.fixture(scope="module")
def live_client(hot_settings: Settings, catalog: SqlCatalog, store_folder: Path) -> Iterator[TestClient]:
    """The API over rows in a table, and over a sensor and a zone in the hot view."""
    from tests.unit.api.test_api_latest import minute, reading, this_minute

    minutes = [minute("centre", this_minute() - timedelta(minutes=back), [1.0]) for back in range(3)]
    with connect(hot_settings) as client:
        view = View(client)
        view.open()
        view.apply([reading("t-1"), *minutes], {})
    store = fs.SubTreeFileSystem(str(store_folder), fs.LocalFileSystem())
    app = create_app(hot_settings, catalog_factory=lambda _: catalog, store_factory=lambda _: store)
    with TestClient(app, headers={"X-API-Key": KEY}, raise_server_exceptions=False) as api:
        yield api
