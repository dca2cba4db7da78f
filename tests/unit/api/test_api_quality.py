"""What the API says of data quality, held against rows that are written out."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from pyiceberg.catalog.sql import SqlCatalog
from tenacity import Retrying, retry_if_result, wait_fixed

NOW = datetime.now(UTC)
FAILURE = {"expectation": "expect_column_values_to_be_between", "columns": "avg_speed_kmh", "failing_keys": "[]"}


def evaluation(table: str, check: str, ago: timedelta, **others: Any) -> dict[str, Any]:
    row = {"checked_at": NOW - ago, "table_name": table, "check_name": check, "passed": True, "severity": "ERROR"}
    return row | {"description": f"{check} of {table}"} | others


@pytest.fixture(autouse=True)
def results(catalog: SqlCatalog, client: TestClient) -> None:
    hour = timedelta(hours=1)
    rows = [
        evaluation("gold.traffic_hourly", "contract", 2 * hour, passed=False),
        evaluation("gold.traffic_hourly", "contract", hour, row_count=9),
        evaluation("gold.traffic_hourly", "audit", hour, passed=False, severity="WARN",
                   failures=json.dumps([FAILURE])),
        evaluation("bronze.traffic_events", "contract", hour, passed=False),
        evaluation("bronze.traffic_events", "audit", hour),
        evaluation("gold.weather_daily", "contract", timedelta(days=10)),
    ]  # fmt: skip
    table = catalog.load_table("gold.quality_results")
    if table.current_snapshot() is None:
        table.append(pa.Table.from_pylist(rows, schema=table.schema().as_arrow()))
    snapshot = catalog.load_table("gold.quality_results").current_snapshot()
    assert snapshot is not None
    # the API takes a table that it has just loaded for current
    retrying = Retrying(
        retry=retry_if_result(lambda read: read != str(snapshot.snapshot_id)), wait=wait_fixed(0.1)
    )
    retrying(lambda: client.get("/v1/quality").json()["snapshot_id"])


def test_each_check_says_what_it_last_said(client: TestClient) -> None:
    answer = client.get("/v1/quality").raise_for_status().json()
    tables = {table["table"]: table for table in answer["tables"]}
    assert {name: table["verdict"] for name, table in tables.items()} == {
        "bronze.traffic_events": "failed",
        "gold.traffic_hourly": "warned",
    }
    audit, contract = tables["gold.traffic_hourly"]["checks"]
    assert (audit["check"], audit["verdict"], audit["failures"]) == ("audit", "warned", [FAILURE])
    assert (contract["verdict"], contract["row_count"]) == ("passed", 9)
    days = tables["gold.traffic_hourly"]["trend"]
    assert sum(day["failed"] for day in days) == sum(day["warned"] for day in days) == 1
    assert sum(day["passed"] for day in days) == 1


def test_one_table_and_further_back(client: TestClient) -> None:
    [table] = client.get("/v1/quality/gold.weather_daily?days=30").raise_for_status().json()["tables"]
    assert table["verdict"] == "passed"
    assert client.get("/v1/quality/gold.weather_daily").json()["tables"] == []
    assert client.get("/v1/quality/gold.nothing").status_code == 404
    assert client.get("/v1/quality?days=0").status_code == 422


def test_the_report_is_served_as_it_was_stored_and_runs_nothing(client: TestClient, store_folder: Path) -> None:
    missing = client.get("/v1/quality/report")
    assert missing.status_code == 404
    assert "quality_report" in missing.json()["detail"]
    (store_folder / "reports").mkdir()
    (store_folder / "reports" / "quality.html").write_text("<!doctype html><p>as it is</p>")
    page = client.get("/v1/quality/report").raise_for_status()
    assert page.text == "<!doctype html><p>as it is</p>"
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert client.get("/v1/quality/report", headers={"X-API-Key": "wrong"}).status_code == 401
