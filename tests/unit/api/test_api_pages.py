"""Pages by cursor, snapshots of the past, formats and conditional requests, each against another reader."""

import base64
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pandas as pd
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.table import Table as IcebergTable

from api.app import create_app
from contracts import all_tables
from contracts import table as contract
from resources.catalog import ensure_tables
from settings import Settings
from tests.unit.api.conftest import KEY, TABLE

ROWS = f"/v1/tables/{TABLE}/rows"
WINDOWS = contract("silver.energy_1m")
START = datetime(2026, 3, 1, tzinfo=UTC)
pytestmark = pytest.mark.usefixtures("_commits_are_seen_at_once")

SPEEDS = [math.nan, None, math.inf, -math.inf, 0.0, -0.0, 1.5, math.nan, None, 1.5, -2.25]


@pytest.fixture(scope="module")
def own_client(own_catalog: SqlCatalog, settings: Settings) -> Any:
    app = create_app(settings, catalog_factory=lambda _: own_catalog)
    with TestClient(app, headers={"X-API-Key": KEY}) as client:
        yield client


def window(sensor: str, power: float | None, minute: int = 0) -> dict[str, Any]:
    row: dict[str, Any] = {column.name: None if column.nullable else 1 for column in WINDOWS.columns}
    start = START + timedelta(minutes=minute)
    return row | {
        "sensor_id": sensor,
        "zone": "centre",
        "window_start": start,
        "window_end": start + timedelta(minutes=1),
        "active_power_kw_mean": power,
    }


def append(table: IcebergTable, rows: list[dict[str, Any]]) -> int:
    table.append(pa.Table.from_pylist(rows, schema=table.schema().as_arrow()))
    snapshot = table.current_snapshot()
    assert snapshot is not None
    return snapshot.snapshot_id


def emptied(catalog: SqlCatalog) -> IcebergTable:
    table = catalog.load_table(WINDOWS.identifier)
    table.delete()
    return table


def all_pages(client: TestClient, path: str, **parameters: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = client.get(path, params={**parameters, **cursor})
        assert answer.status_code == 200, answer.text
        body = answer.json()
        rows += body["rows"]
        assert body["has_more"] == (body["next_cursor"] is not None)
        if not body["has_more"]:
            return rows
        cursor = {"cursor": body["next_cursor"]}


ORDERS = ["zone", "-zone", "latitude", "-vehicle_count", "event_time", "-event_time", "avg_speed_kmh", "sensor_id"]


@hypothesis_settings(max_examples=25, deadline=None)
@given(
    order=st.lists(st.sampled_from(ORDERS), min_size=1, max_size=3, unique_by=lambda term: term.lstrip("-")),
    limit=st.integers(20, 200),
    zone=st.sampled_from([None, "centre"]),
)
def test_pages_are_what_duckdb_orders(
    client: TestClient, events: list[list[dict[str, Any]]], order: list[str], limit: int, zone: str | None
) -> None:
    filters = {} if zone is None else {"zone": zone}
    columns = "kafka_partition,kafka_offset"
    found = all_pages(client, ROWS, order=",".join(order), limit=limit, columns=columns, **filters)
    connection = duckdb.connect()
    connection.register("events", pa.Table.from_pylist([row for rows in events for row in rows]))
    terms = [f"{term.lstrip('-')} {'DESC' if term[0] == '-' else 'ASC'} NULLS LAST" for term in order]
    expected = connection.sql(
        f"SELECT {columns} FROM events WHERE {'true' if zone is None else 'zone = ?'} "
        f"ORDER BY {', '.join([*terms, 'kafka_partition', 'kafka_offset'])}",
        params=[] if zone is None else [zone],
    ).fetchall()
    assert [tuple(row.values()) for row in found] == expected


@pytest.mark.parametrize("order", ["active_power_kw_mean", "-active_power_kw_mean"])
@pytest.mark.parametrize("limit", [1, 2, 5])
def test_no_value_of_a_double_falls_between_two_pages(
    own_client: TestClient, own_catalog: SqlCatalog, order: str, limit: int
) -> None:
    append(emptied(own_catalog), [window(f"energy-{n}", value) for n, value in enumerate(SPEEDS)])
    path = f"/v1/tables/{WINDOWS.identifier}/rows"
    whole = own_client.get(path, params={"order": order, "columns": "sensor_id", "limit": 100}).json()["rows"]
    assert len(whole) == len(SPEEDS)
    assert all_pages(own_client, path, order=order, limit=limit, columns="sensor_id") == whole


def test_commits_between_pages_change_none_of_them(own_client: TestClient, own_catalog: SqlCatalog) -> None:
    table = emptied(own_catalog)
    append(table, [window(f"energy-{n}", float(n)) for n in range(10)])
    path = f"/v1/tables/{WINDOWS.identifier}/rows"
    asked = {"order": "sensor_id", "columns": "sensor_id", "limit": 4}
    first = own_client.get(path, params=asked).json()
    append(table, [window("energy-35", 1.0), window("energy-7a", 1.0)])
    second = own_client.get(path, params={**asked, "cursor": first["next_cursor"]}).json()
    table.delete()
    third = own_client.get(path, params={**asked, "cursor": second["next_cursor"]}).json()
    rows = [row["sensor_id"] for page in (first, second, third) for row in page["rows"]]
    assert rows == [f"energy-{n}" for n in range(10)]
    assert {page["snapshot_id"] for page in (first, second, third)} == {first["snapshot_id"]}
    assert third["next_cursor"] is None


def test_a_cursor_whose_snapshot_was_expired_says_to_start_again(
    own_client: TestClient, own_catalog: SqlCatalog
) -> None:
    table = emptied(own_catalog)
    pinned = append(table, [window(f"energy-{n}", 1.0) for n in range(3)])
    path = f"/v1/tables/{WINDOWS.identifier}/rows"
    asked = {"order": "sensor_id", "limit": 1}
    cursor = own_client.get(path, params=asked).json()["next_cursor"]
    append(table, [window("energy-9", 1.0)])
    table.maintenance.expire_snapshots().by_id(pinned).commit()
    answer = own_client.get(path, params={**asked, "cursor": cursor})
    assert answer.status_code == 409
    assert "start again without a cursor" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"order": "-sensor_id"}, "another query"),
        ({"zone": "north"}, "another query"),
        ({"as_of": "2126-03-01T08:00:00Z"}, "another query"),
        ({"order": ""}, "order"),
        ({"cursor": "nonsense"}, "not a cursor"),
        ({"cursor": ""}, "not a cursor"),
        ({"cursor": "WzEsMSwiYSIsW11d"}, "another query"),
        ({"cursor": "é%00"}, "not a cursor"),
    ],
)
def test_a_cursor_goes_with_its_query_only(client: TestClient, change: dict[str, str], says: str) -> None:
    asked: dict[str, Any] = {"order": "sensor_id", "limit": 5}
    asked["cursor"] = client.get(ROWS, params=asked).json()["next_cursor"]
    answer = client.get(ROWS, params={**asked, **change})
    assert answer.status_code == 422
    assert says in answer.json()["detail"]


def test_a_cursor_with_other_values_is_refused(client: TestClient) -> None:
    asked: dict[str, Any] = {"order": "vehicle_count", "limit": 5}
    cursor = client.get(ROWS, params=asked).json()["next_cursor"]
    version, snapshot, query, values = orjson.loads(base64.urlsafe_b64decode(cursor + "=="))
    for wrong in (["text", *values[1:]], values[:-1], [True, *values[1:]], [2.5, *values[1:]]):
        forged = base64.urlsafe_b64encode(orjson.dumps([version, snapshot, query, wrong])).decode().rstrip("=")
        answer = client.get(ROWS, params={**asked, "cursor": forged})
        assert answer.status_code == 422, wrong


def test_the_table_as_it_was(own_client: TestClient, own_catalog: SqlCatalog) -> None:
    table = emptied(own_catalog)
    first = append(table, [window("energy-1", 1.0)])
    table.manage_snapshots().create_tag(first, "before").commit()
    second = append(table, [window("energy-2", 1.0)])
    committed = {entry.snapshot_id: entry.timestamp_ms for entry in table.history()}
    path = f"/v1/tables/{WINDOWS.identifier}/rows"
    at_first = datetime.fromtimestamp(committed[first] / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    for as_of, sensors in (
        (str(first), ["energy-1"]),
        ("before", ["energy-1"]),
        (at_first, ["energy-1"]),
        (str(second), ["energy-1", "energy-2"]),
        ("2126-03-01T08:00:00Z", ["energy-1", "energy-2"]),
    ):
        body = own_client.get(path, params={"as_of": as_of, "order": "sensor_id"}).json()
        assert [row["sensor_id"] for row in body["rows"]] == sensors, as_of
    assert own_client.get(path, params={"as_of": str(first)}).headers["Cache-Control"].endswith("immutable")
    assert own_client.get(path, params={"as_of": "before"}).headers["Cache-Control"].endswith("no-cache")


def test_what_is_not_published_cannot_be_read(own_client: TestClient, own_catalog: SqlCatalog) -> None:
    table = emptied(own_catalog)
    published = append(table, [window("energy-1", 1.0)])
    table.manage_snapshots().create_branch(published, "audit").commit()
    rows = pa.Table.from_pylist([window("energy-2", 1.0)], schema=table.schema().as_arrow())
    table.append(rows, branch="audit")
    branch = table.refresh().refs()["audit"].snapshot_id
    path = f"/v1/tables/{WINDOWS.identifier}/rows"
    for hidden in (str(branch), "audit"):
        assert own_client.get(path, params={"as_of": hidden}).status_code == 404


@pytest.mark.parametrize(("as_of", "status"), [("1", 404), ("no-tag", 404), ("1970-01-01T00:00:00Z", 404)])
def test_a_snapshot_that_is_not_there(client: TestClient, as_of: str, status: int) -> None:
    answer = client.get(ROWS, params={"as_of": as_of})
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")


def test_a_column_that_came_later_is_null_in_older_snapshots(tmp_path: Path, settings: Settings) -> None:
    catalog = SqlCatalog("lakehouse", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}")
    ensure_tables(catalog, all_tables(), commit_retries=settings.commit_retries)
    table = catalog.load_table(WINDOWS.identifier)
    with table.update_schema() as update:
        update.delete_column("power_factor_mean")
    old = append(table, [{k: v for k, v in window("energy-1", 2.5).items() if k != "power_factor_mean"}])
    ensure_tables(catalog, all_tables(), commit_retries=settings.commit_retries)
    with TestClient(create_app(settings, catalog_factory=lambda _: catalog), headers={"X-API-Key": KEY}) as client:
        answer = client.get(f"/v1/tables/{WINDOWS.identifier}/rows", params={"as_of": str(old)})
    assert answer.status_code == 200, answer.text
    [row] = answer.json()["rows"]
    assert (row["active_power_kw_mean"], row["power_factor_mean"]) == (2.5, None)


def instants(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the event time as an instant of UTC, as text or as each reader has it."""
    times = pd.to_datetime([row["event_time"] for row in rows], utc=True)
    return [row | {"event_time": time} for row, time in zip(rows, times, strict=True)]


@pytest.mark.parametrize("how", ["format", "accept"])
def test_each_format_has_the_same_rows(client: TestClient, tmp_path: Path, how: str) -> None:
    asked = {"order": "-event_time", "limit": "50", "columns": "event_id,event_time,zone,vehicle_count"}
    expected = client.get(ROWS, params=asked).json()
    types = {
        "ndjson": "application/x-ndjson",
        "csv": "text/csv",
        "parquet": "application/vnd.apache.parquet",
        "arrow": "application/vnd.apache.arrow.stream",
    }
    for name, media_type in types.items():
        headers = {"Accept": f"image/png, {media_type};q=0.9, application/json;q=0.1"} if how == "accept" else {}
        answer = client.get(ROWS, params=asked | ({"format": name} if how == "format" else {}), headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"].partition(";")[0] == media_type
        assert answer.headers["Lakehouse-Snapshot-Id"] == expected["snapshot_id"]
        assert answer.headers["Lakehouse-Has-More"] == "true"
        assert answer.headers["Lakehouse-Next-Cursor"]
        file = tmp_path / f"rows.{name}"
        file.write_bytes(answer.content)
        if name == "arrow":
            connection = duckdb.connect()
            connection.register("rows", pa.ipc.open_stream(answer.content).read_all())
            found = connection.sql("SELECT * FROM rows")
        else:
            reader = {"ndjson": "read_json", "csv": "read_csv", "parquet": "read_parquet"}[name]
            found = duckdb.connect().sql(f"SELECT * FROM {reader}('{file}')")
        assert found.columns == expected["columns"]
        rows = [dict(zip(found.columns, values, strict=True)) for values in found.fetchall()]
        assert instants(rows) == instants(expected["rows"]), name


@pytest.mark.parametrize("accept", ["image/png", "application/json;q=0", "text/html, image/*"])
def test_an_unknown_media_type_is_refused(client: TestClient, accept: str) -> None:
    answer = client.get(ROWS, headers={"Accept": accept})
    assert answer.status_code == 406
    assert "text/csv" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "application/json"),
        ("text/*", "text/csv"),
        ("application/json;q=0.2, text/csv", "text/csv"),
        ("text/html, */*;q=0.1", "application/json"),
        ("*/*, application/json;q=0", "application/x-ndjson"),
    ],
)
def test_the_best_liked_media_type_is_sent(client: TestClient, accept: str, media_type: str) -> None:
    answer = client.get(ROWS, headers={"Accept": accept}, params={"limit": 1})
    assert answer.headers["Content-Type"].partition(";")[0] == media_type


def test_a_known_answer_is_not_read_again(
    own_client: TestClient, own_catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = emptied(own_catalog)
    append(table, [window("energy-1", 1.0)])
    path = f"/v1/tables/{WINDOWS.identifier}/rows"
    first = own_client.get(path, params={"limit": 5})
    tag = first.headers["ETag"]
    other_tags = {
        own_client.get(path, params=asked, headers=headers).headers["ETag"]
        for asked, headers in [
            ({"limit": 6}, {}),
            ({"limit": 5, "zone": "centre"}, {}),
            ({"limit": 5, "format": "csv"}, {}),
            ({"limit": 5}, {"Accept": "text/csv"}),
        ]
    }
    assert len(other_tags) == 4
    assert tag not in other_tags

    with monkeypatch.context() as patch:
        patch.setattr(ArrowScan, "to_table", lambda *_: pytest.fail("a file was read"))
        for sent in (tag, f'"other", {tag}', tag.removeprefix("W/")):
            again = own_client.get(path, params={"limit": 5}, headers={"If-None-Match": sent})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["ETag"] == tag

    append(table, [window("energy-2", 1.0)])
    changed = own_client.get(path, params={"limit": 5}, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert len(changed.json()["rows"]) == 2
    assert changed.headers["ETag"] != tag
