"""Pages, aggregates and streams while a table is written all the time: each is of one snapshot, the one it names.

Each commit replaces all rows by as many of the next generation, so that a mixture of two snapshots shows.
"""

import io
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from pyiceberg.catalog.sql import SqlCatalog

from api.app import create_app
from contracts import table as contract
from settings import Settings
from tests.unit.api.conftest import KEY

TABLE = contract("silver.energy_1m")
PATH = f"/v1/tables/{TABLE.identifier}"
SENSORS, GENERATIONS = 25, 12
START = datetime(2026, 3, 1, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("_commits_are_seen_at_once")


class Writer:
    """Replaces the rows again and again, and remembers the generation of each snapshot."""

    def __init__(self, catalog: SqlCatalog) -> None:
        self.generations: dict[str, int] = {}
        self.failure: BaseException | None = None
        self._catalog = catalog
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> "Writer":
        self.replace(0)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    @property
    def is_writing(self) -> bool:
        return self._thread.is_alive()

    def replace(self, generation: int) -> None:
        table = self._catalog.load_table(TABLE.identifier)
        table.overwrite(
            pa.Table.from_pylist([row(n, generation) for n in range(SENSORS)], table.schema().as_arrow())
        )
        snapshot = table.current_snapshot()
        assert snapshot is not None
        self.generations[str(snapshot.snapshot_id)] = generation

    def _write(self) -> None:
        try:
            for generation in range(1, GENERATIONS):
                self.replace(generation)
        except BaseException as failure:  # noqa: BLE001 - of another thread
            self.failure = failure


def row(sensor: int, generation: int) -> dict[str, Any]:
    fields: dict[str, Any] = {column.name: None if column.nullable else 1 for column in TABLE.columns}
    times = {"window_start": START, "window_end": START + timedelta(minutes=1)}
    return fields | times | {"sensor_id": f"energy-{sensor:02}", "event_count": generation}


@pytest.fixture
def own_client(own_catalog: SqlCatalog, settings: Settings) -> Iterator[TestClient]:
    app = create_app(settings, catalog_factory=lambda _: own_catalog)
    with TestClient(app, headers={"X-API-Key": KEY}) as client:
        yield client


def pages(client: TestClient) -> tuple[set[str], list[dict[str, Any]]]:
    """Snapshots and rows of all pages of a query."""
    asked = {"order": "sensor_id", "limit": 4, "columns": "sensor_id,event_count"}
    snapshots, rows = set(), []
    cursor: dict[str, str] = {}
    while True:
        body = client.get(f"{PATH}/rows", params=asked | cursor).raise_for_status().json()
        snapshots.add(body["snapshot_id"])
        rows += body["rows"]
        if body["next_cursor"] is None:
            return snapshots, rows
        cursor = {"cursor": body["next_cursor"]}


def aggregate(client: TestClient) -> tuple[str, list[dict[str, Any]]]:
    asked = {"measures": "count,min(event_count),max(event_count)"}
    body = client.get(f"{PATH}/aggregate", params=asked).raise_for_status().json()
    return body["snapshot_id"], body["rows"]


def stream(client: TestClient) -> tuple[str, list[int]]:
    answer = client.get(f"{PATH}/rows", params={"limit": "all", "format": "arrow", "columns": "event_count"})
    answer.raise_for_status()
    found = pa.ipc.open_stream(io.BytesIO(answer.content)).read_all()
    return answer.headers["Lakehouse-Snapshot-Id"], found["event_count"].to_pylist()


def test_no_answer_mixes_snapshots(own_client: TestClient, own_catalog: SqlCatalog) -> None:
    of_pages, of_aggregates, of_streams, by_tag = [], [], [], {}
    with Writer(own_catalog) as writer:
        while True:
            last = not writer.is_writing
            of_pages.append(pages(own_client))
            of_aggregates.append(aggregate(own_client))
            of_streams.append(stream(own_client))
            answer = own_client.get(f"{PATH}/rows", params={"columns": "event_count"})
            by_tag.setdefault(answer.headers["ETag"], set()).add(answer.json()["rows"][0]["event_count"])
            if last:
                break
    assert writer.failure is None
    for snapshots, rows in of_pages:
        (snapshot,) = snapshots
        generation = writer.generations[snapshot]
        assert rows == [{"sensor_id": f"energy-{n:02}", "event_count": generation} for n in range(SENSORS)]
    for snapshot, rows in of_aggregates:
        generation = writer.generations[snapshot]
        assert rows == [{"count": SENSORS, "min_event_count": generation, "max_event_count": generation}]
    for snapshot, counts in of_streams:
        assert counts == [writer.generations[snapshot]] * SENSORS
    assert all(len(generations) == 1 for generations in by_tag.values())
    # the last look came after the last commit
    assert {GENERATIONS - 1} in by_tag.values()
