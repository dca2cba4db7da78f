"""What is read to say how far a snapshot reaches: its manifests, once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pyiceberg.catalog.sql import SqlCatalog

import api.tables.states
from api.app import create_app
from settings import Settings
from tests.unit.api.conftest import KEY

NAME = "silver.weather_5m"
ROWS = f"/v1/tables/{NAME}/rows"
START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
Seen = list[tuple[str, str]]


@pytest.fixture
def app(settings: Settings, own_catalog: SqlCatalog) -> FastAPI:
    return create_app(settings, catalog_factory=lambda _: own_catalog)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """The snapshots that were looked at, by table."""
    seen: Seen = []
    look = api.tables.states.newest_event_time_in

    def counted(table: Any, snapshot: Any, declared: Any, manifests: Any) -> Any:
        seen.append((declared.identifier, str(snapshot.snapshot_id)))
        return look(table, snapshot, declared, manifests)

    monkeypatch.setattr(api.tables.states, "newest_event_time_in", counted)
    return seen


def append(catalog: SqlCatalog, start: datetime) -> str:
    loaded = catalog.load_table(NAME)
    row = {"zone": "centre", "window_start": start, "window_end": start + 5 * MINUTE, "event_count": 1}
    loaded.append(pa.Table.from_pylist([row], schema=loaded.schema().as_arrow()))
    snapshot = catalog.load_table(NAME).current_snapshot()
    assert snapshot is not None
    return str(snapshot.snapshot_id)


def test_each_snapshot_is_looked_at_once(own_catalog: SqlCatalog, app: FastAPI, seen: Seen) -> None:
    older, newest = append(own_catalog, START), append(own_catalog, START + MINUTE)
    paths = (f"{ROWS}?as_of={older}", ROWS, f"/v1/tables/{NAME}/aggregate", f"/v1/tables/{NAME}", "/v1/tables")
    with TestClient(app, headers={"X-API-Key": KEY}) as client:
        for path in 3 * paths:
            client.get(path).raise_for_status()
    assert seen == [(NAME, older), (NAME, newest)]


def test_only_so_many_snapshots_are_remembered(
    own_catalog: SqlCatalog, app: FastAPI, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.tables.states, "MOST_SNAPSHOTS", 2)
    first, second, third = (append(own_catalog, START + number * MINUTE) for number in (7, 8, 9))
    with TestClient(app, headers={"X-API-Key": KEY}) as client:
        # the one that was not asked for for longest is forgotten
        for snapshot in (first, second, first, third, first, second):
            client.get(ROWS, params={"as_of": snapshot}).raise_for_status()
    assert [snapshot for _, snapshot in seen] == [first, second, third, second]
