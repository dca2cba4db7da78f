"""The client against the real API: what it returns equals what PyIceberg and DuckDB read from the same tables."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import httpx
import pyarrow as pa
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import BaseModel
from pyiceberg.catalog.sql import SqlCatalog

from client import ApiError, Change, Lakehouse, NotReachableError, TableQuality, TableState, Windows
from client.lakehouse import _changes

KEY = "the-key-of-these-tests"
TABLE = "bronze.traffic_events"
START = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def lakehouse(client: TestClient) -> Iterator[Lakehouse]:
    with Lakehouse("http://testserver", KEY, transport=client._transport, page_rows=300) as lakehouse:
        yield lakehouse


@pytest.fixture(scope="module")
def bronze(catalog: SqlCatalog) -> pa.Table:
    return catalog.load_table(TABLE).scan().to_arrow()


def offsets(rows: pa.Table) -> list[tuple[int, int]]:
    return list(zip(rows["kafka_partition"].to_pylist(), rows["kafka_offset"].to_pylist(), strict=True))


def asked(bronze: pa.Table, where: str, order: str = "event_time") -> list[tuple[int, int]]:
    bronze  # noqa: B018  what DuckDB reads by its name
    query = f"SELECT kafka_partition, kafka_offset FROM bronze WHERE {where} "
    return duckdb.sql(f"{query} ORDER BY {order} NULLS LAST, kafka_partition, kafka_offset").fetchall()


def test_all_rows_come_however_many_pages_it_takes(lakehouse: Lakehouse, bronze: pa.Table) -> None:
    found = [page.rows for page in lakehouse.pages(TABLE, page_rows=37)]
    assert len(found) == -(-len(bronze) // 37)
    assert offsets(pa.concat_tables(found)) == asked(bronze, "true")


@pytest.mark.parametrize(
    ("where", "sql"),
    [
        ({"zone": "north"}, "zone = 'north'"),
        (
            {"zone": ["north", "centre"], "vehicle_count__ge": 2},
            "zone IN ('north', 'centre') AND vehicle_count >= 2",
        ),
        ({"avg_speed_kmh__lt": 30.25}, "avg_speed_kmh < 30.25"),
        ({"vehicle_count__in": [0, 50]}, "vehicle_count IN (0, 50)"),
        ({"zone__is_null": True}, "zone IS NULL"),
        (
            {"event_time__gt": START + timedelta(hours=30, microseconds=1)},
            "event_time > TIMESTAMPTZ '2026-03-02 06:00:00.000001+00'",
        ),
    ],
)
def test_filters_of_python_values(lakehouse: Lakehouse, bronze: pa.Table, where: dict[str, Any], sql: str) -> None:
    expected = asked(bronze, sql)
    assert 0 < len(expected) < len(bronze)
    assert offsets(lakehouse.rows(TABLE, where=where, limit=300)) == expected[:300]


def test_a_range_of_time_an_order_columns_and_a_limit(lakehouse: Lakehouse, bronze: pa.Table) -> None:
    noon = START.replace(hour=12)
    rows = lakehouse.rows(
        TABLE,
        since=noon.astimezone(),
        until=noon + timedelta(hours=6),
        columns=["kafka_offset", "kafka_partition"],
        order=["-vehicle_count"],
        limit=20,
    )
    assert rows.column_names == ["kafka_offset", "kafka_partition"]
    condition = "event_time >= TIMESTAMPTZ '2026-03-01 12:00Z' AND event_time < TIMESTAMPTZ '2026-03-01 18:00Z'"
    assert offsets(rows) == asked(bronze, condition, "vehicle_count DESC")[:20]


def test_a_table_as_it_was(lakehouse: Lakehouse, catalog: SqlCatalog) -> None:
    first = catalog.load_table(TABLE).metadata.snapshots[0].snapshot_id
    (page,) = lakehouse.pages(TABLE, as_of=first, page_rows=300)
    assert page.snapshot_id == first
    assert len(page.rows) == catalog.load_table(TABLE).scan(snapshot_id=first).count()


def test_a_table_without_rows_has_one_empty_page(lakehouse: Lakehouse) -> None:
    (page,) = lakehouse.pages("gold.energy_daily", page_rows=10)
    assert (len(page.rows), page.snapshot_id) == (0, None)
    assert "sensor_id" in page.rows.column_names
    assert len(lakehouse.rows("gold.energy_daily")) == 0


def test_aggregates_equal_those_of_duckdb(lakehouse: Lakehouse, bronze: pa.Table) -> None:
    found = lakehouse.aggregate(
        TABLE, ["count", "avg(avg_speed_kmh)"], group_by=["sensor_id"], time_bucket="1d", where={"zone": "north"}
    )
    assert bronze.num_rows
    expected = duckdb.sql(
        "SELECT time_bucket(INTERVAL 1 DAY, event_time AT TIME ZONE 'UTC') AS day, sensor_id, count(*), "
        "avg(avg_speed_kmh) FROM bronze WHERE zone = 'north' GROUP BY ALL ORDER BY day, sensor_id"
    ).fetchall()
    columns = [found[name].to_pylist() for name in found.column_names]
    rows = [(time.replace(tzinfo=None), *rest) for time, *rest in zip(*columns, strict=True)]
    assert [row[:3] for row in rows] == [row[:3] for row in expected]
    assert [row[3] for row in rows] == pytest.approx([row[3] for row in expected], nan_ok=True)


def test_the_tables_and_their_columns(lakehouse: Lakehouse, bronze: pa.Table) -> None:
    tables = {table.identifier: table for table in lakehouse.tables()}
    assert tables[TABLE].row_count == len(bronze)
    assert [column.name for column in tables[TABLE].columns] == bronze.column_names
    assert {column.name: column.unit for column in tables[TABLE].columns}["avg_speed_kmh"] == "km/h"


def test_what_the_api_refuses_is_an_error_that_says_why(lakehouse: Lakehouse) -> None:
    with pytest.raises(ApiError, match=r"did you mean bronze\.traffic_events") as found:
        lakehouse.rows("bronze.trafic_events")
    assert found.value.status == 404
    with pytest.raises(ApiError) as found:
        lakehouse.rows(TABLE, where={"vehicle_count": "many"})
    assert set(found.value.errors) == {"vehicle_count"}


@pytest.mark.parametrize(
    "where",
    [{"zone": ["a,b", "c"]}, {"event_time__gt": datetime(2026, 3, 1)}],
)
def test_what_would_be_misread_is_refused_before_it_is_sent(lakehouse: Lakehouse, where: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"comma|time zone"):
        lakehouse.rows(TABLE, where=where)


def test_every_field_of_the_models_is_what_the_api_documents(app: FastAPI) -> None:
    schemas = app.openapi()["components"]["schemas"]
    pairs: list[tuple[type[BaseModel], str]] = [
        (TableState, "TableSummary"),
        (TableQuality, "TableQuality"),
        (Windows, "TrafficWindows"),
    ]
    for model, name in pairs:
        check(model.model_json_schema(), schemas[name], schemas)


def check(mine: dict[str, Any], documented: dict[str, Any], schemas: dict[str, Any]) -> None:
    definitions = mine.get("$defs", {})
    for name, field in mine["properties"].items():
        theirs = documented["properties"][name]
        assert kinds(field, definitions) >= kinds(theirs, schemas), f"{documented['title']}.{name}"
        assert (name in mine["required"]) <= (name in documented["required"]), f"{documented['title']}.{name}"
        if "$ref" in field.get("items", {}):
            inner = schemas[theirs["items"]["$ref"].rpartition("/")[2]]
            check({**definitions[field["items"]["$ref"].rpartition("/")[2]], "$defs": definitions}, inner, schemas)


def kinds(field: dict[str, Any], definitions: dict[str, Any]) -> set[str]:
    if "$ref" in field:
        return kinds(definitions[field["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in field:
        return set.union(*(kinds(each, definitions) for each in field["anyOf"]))
    return {field["type"]}


def answers(*given: httpx.Response | Exception) -> tuple[httpx.MockTransport, list[httpx.Request]]:
    """A network that answers so, in turn; what cannot be provoked from the real API without waiting."""
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        found = given[len(requests) - 1]
        if isinstance(found, Exception):
            raise found
        return found

    return httpx.MockTransport(answer), requests


def problem(status: int, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"detail": "the catalog does not answer"}, headers=headers)


def test_what_may_be_better_later_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", waited.append)
    good = httpx.Response(200, json={"tables": []})
    transport, requests = answers(problem(503, **{"Retry-After": "7"}), httpx.ConnectError("refused"), good)
    with Lakehouse("http://lakehouse", KEY, transport=transport) as lakehouse:
        assert lakehouse.tables() == []
    assert len(requests) == 3
    assert waited[0] == 7.0


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (lambda: problem(503), ApiError),
        (lambda: httpx.ReadTimeout("too slow"), NotReachableError),
    ],
)
def test_in_the_end_the_last_failure_is_told(
    monkeypatch: pytest.MonkeyPatch, failure: Callable[[], Any], error: type[Exception]
) -> None:
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
    transport, requests = answers(*(failure() for _ in range(3)))
    with Lakehouse("http://lakehouse", KEY, transport=transport, attempts=3) as lakehouse, pytest.raises(error):
        lakehouse.tables()
    assert len(requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 500])
def test_what_another_try_does_not_change_is_not_tried_again(status: int) -> None:
    transport, requests = answers(problem(status))
    with Lakehouse("http://lakehouse", KEY, transport=transport) as lakehouse, pytest.raises(ApiError):
        lakehouse.tables()
    assert len(requests) == 1


def test_a_page_of_something_in_front_of_the_api_is_an_error_too() -> None:
    transport, _ = answers(httpx.Response(404, text="<html>nginx</html>"))
    with Lakehouse("http://lakehouse", KEY, transport=transport) as lakehouse, pytest.raises(ApiError) as found:
        lakehouse.tables()
    assert found.value.status == 404


def test_changes_are_read_as_they_come() -> None:
    reading, zone = {"sensor_id": "t: 1", "event_time": "2026-03-01T08:00:00Z"}, {"zone": "north"}
    lines = [
        "retry: 2000",
        "",
        ": nothing new",
        "",
        "id: 1-0",
        "event: reading",
        f"data: {json.dumps(reading)}",
        "",
    ]
    lines += ["id: 2-0", "event: zone", f"data: {json.dumps(zone)}", "", ": nothing new", "id: 3-0", ""]
    lines += ["id: 4-0", "event: reset", 'data: {"detail": "some are missing"}', ""]
    assert list(_changes(lines)) == [
        Change("reading", reading, "1-0"),
        Change("zone", zone, "2-0"),
        Change("reset", {"detail": "some are missing"}, "4-0"),
    ]
    with pytest.raises(NotReachableError, match="read faster"):
        list(_changes(["event: end", 'data: {"reason": "slow", "detail": "read faster"}', ""]))
