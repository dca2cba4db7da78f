"""What the API says about tables against the contracts and against the catalog's own figures."""

from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pyiceberg.catalog.sql import SqlCatalog

from contracts import served_tables
from contracts import table as contract

EVENTS = "bronze.traffic_events"


def test_the_list_has_every_table_with_every_column(client: TestClient) -> None:
    listed = client.get("/v1/tables").json()
    assert listed["catalog_reachable"] is True
    entries = {entry["identifier"]: entry for entry in listed["tables"]}
    assert list(entries) == [table.identifier for table in served_tables()]
    for table in served_tables():
        entry = entries[table.identifier]
        assert (entry["layer"], entry["family"], entry["event_time"]) == (
            table.layer,
            table.family,
            table.event_time,
        )
        assert entry["key"] == list(table.key)
        assert entry["owners"] == list(table.owners)
        assert entry["freshness"]["fail_after_s"] == table.freshness.fail_after.total_seconds()
        assert [
            (column["name"], column["type"], column["unit"], column["meaning"], column["nullable"])
            for column in entry["columns"]
        ] == [(column.name, column.type, column.unit, column.meaning, column.nullable) for column in table.columns]


def test_the_list_tells_the_state_of_each_table(
    client: TestClient, catalog: SqlCatalog, events: list[list[dict[str, Any]]]
) -> None:
    entries = {entry["identifier"]: entry for entry in client.get("/v1/tables").json()["tables"]}
    snapshot = catalog.load_table(EVENTS).current_snapshot()
    assert snapshot is not None
    assert entries[EVENTS]["row_count"] == sum(map(len, events))
    assert entries[EVENTS]["snapshot_id"] == str(snapshot.snapshot_id)
    assert datetime.fromisoformat(entries[EVENTS]["committed_at"]).timestamp() * 1000 == pytest.approx(
        snapshot.timestamp_ms, abs=0.5
    )
    assert entries["gold.energy_hourly"]["row_count"] == 0
    assert entries["gold.energy_hourly"]["snapshot_id"] is None


def test_the_detail_of_a_table(client: TestClient, catalog: SqlCatalog) -> None:
    detail = client.get(f"/v1/tables/{EVENTS}").json()
    table = catalog.load_table(EVENTS)
    files = list(table.scan().plan_files())
    assert detail["partitioning"] == [{"column": "event_time", "transform": "day"}]
    assert detail["sort_order"] == ["sensor_id", "event_time"]
    assert detail["derived_from"] == ["topic:sensors.traffic"]
    assert detail["tile_s"] is None
    assert detail["snapshot"]["operation"] == "append"
    assert detail["snapshot"]["row_count"] == table.scan().count()
    assert detail["snapshot"]["data_file_count"] == len(files)
    assert detail["snapshot"]["size_bytes"] == sum(task.file.file_size_in_bytes for task in files)
    newest = max(table.scan().to_arrow()["event_time"].to_pylist())
    assert datetime.fromisoformat(detail["reach"]["reaches"]) == newest
    assert (datetime.now(UTC) - newest).total_seconds() >= detail["reach"]["lag_s"] > 0
    assert detail["reach"]["staleness"] == "stale"
    assert detail["properties"]["write.parquet.compression-codec"] == "zstd"


def test_a_window_is_described_by_its_length_and_origin(client: TestClient) -> None:
    detail = client.get("/v1/tables/silver.traffic_1m").json()
    assert detail["tile_s"] == 60
    origins = {column["name"]: column["aggregation"] for column in detail["columns"]}
    assert origins["avg_speed_kmh_mean"] == {"function": "mean", "column": "avg_speed_kmh"}
    assert origins["sensor_id"] is None


def test_ready_counts_the_tables(client: TestClient) -> None:
    assert client.get("/health/ready").json() == {"status": "ready", "tables": len(served_tables())}


def test_a_table_that_is_not_served_is_not_there(client: TestClient) -> None:
    hidden = "bronze.dead_letters"
    assert not contract(hidden).served
    assert hidden not in {entry["identifier"] for entry in client.get("/v1/tables").json()["tables"]}
    assert client.get(f"/v1/tables/{hidden}").status_code == 404
    assert client.get(f"/v1/tables/{hidden}/rows").status_code == 404
    assert f"/v1/tables/{hidden}/rows" not in client.get("/openapi.json").json()["paths"]


def test_no_column_has_the_name_of_a_parameter() -> None:
    for table in served_tables():
        assert not {column.name for column in table.columns} & {
            "columns",
            "order",
            "limit",
            "from",
            "to",
            "filters",
        }
        assert not [column.name for column in table.columns if "__" in column.name]
