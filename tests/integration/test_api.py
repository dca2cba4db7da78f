"""The running API of a running stack, asked as a client would."""

from collections.abc import Iterator

import httpx
import pytest

from contracts import served_tables
from resources.catalog import open_catalog
from settings import Settings

SERVED = served_tables()


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[httpx.Client]:
    headers = {"X-API-Key": settings.api_key.get_secret_value()}
    with httpx.Client(base_url=settings.api_url, headers=headers, timeout=60) as client:
        yield client


def test_live_and_ready_without_a_key(settings: Settings) -> None:
    assert httpx.get(f"{settings.api_url}/health/live").json() == {"status": "live"}
    ready = httpx.get(f"{settings.api_url}/health/ready", timeout=60)
    assert ready.json() == {"status": "ready", "tables": len(SERVED)}


@pytest.mark.parametrize("path", ["/v1/tables", *(f"/v1/tables/{table.identifier}/rows" for table in SERVED)])
def test_without_the_key_nothing_is_answered(settings: Settings, path: str) -> None:
    for headers in ({}, {"X-API-Key": "wrong"}, {"Authorization": "Bearer wrong"}):
        answer = httpx.get(f"{settings.api_url}{path}", headers=headers)
        assert answer.status_code == 401
        assert "WWW-Authenticate" in answer.headers


def test_the_list_has_every_table_and_its_state(client: httpx.Client) -> None:
    listed = client.get("/v1/tables").raise_for_status().json()
    assert listed["catalog_reachable"] is True
    assert {entry["identifier"] for entry in listed["tables"]} == {table.identifier for table in SERVED}
    assert all(isinstance(entry["row_count"], int) for entry in listed["tables"])


@pytest.mark.parametrize("table", SERVED, ids=lambda table: table.identifier)
def test_rows_are_those_of_the_snapshot_that_the_answer_names(
    client: httpx.Client, settings: Settings, table: object
) -> None:
    declared = next(member for member in SERVED if member == table)
    path = f"/v1/tables/{declared.identifier}"
    answer = (
        client.get(f"{path}/rows", params={"order": f"-{declared.event_time}", "limit": 20})
        .raise_for_status()
        .json()
    )
    assert answer["columns"] == [column.name for column in declared.columns]

    # the same snapshot, read whole by PyIceberg and sorted in Python; a stream may have moved the table on
    loaded = open_catalog(settings).load_table(declared.identifier)
    if answer["snapshot_id"] is None:
        assert answer["rows"] == []
        return
    scan = loaded.scan(
        snapshot_id=int(answer["snapshot_id"]), selected_fields=(*{*declared.key, declared.event_time},)
    )
    rows = scan.to_arrow().to_pylist()
    # a zone may be null: last
    rows.sort(key=lambda row: tuple((row[name] is None, row[name]) for name in declared.key))
    rows.sort(key=lambda row: row[declared.event_time], reverse=True)
    assert answer["row_count"] == min(20, len(rows))
    assert answer["has_more"] == (len(rows) > 20)
    plain = [name for name in declared.key if name != declared.event_time]
    assert [[row[name] for name in plain] for row in answer["rows"]] == [
        [row[name] for name in plain] for row in rows[:20]
    ]


def test_a_wrong_parameter_is_a_problem(client: httpx.Client) -> None:
    answer = client.get(f"/v1/tables/{SERVED[0].identifier}/rows", params={"no_such": "1"})
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "unknown parameter" in answer.json()["detail"]


def test_the_documentation_is_public(settings: Settings) -> None:
    assert httpx.get(f"{settings.api_url}/docs").status_code == 200
    paths = httpx.get(f"{settings.api_url}/openapi.json").json()["paths"]
    assert {f"/v1/tables/{table.identifier}/rows" for table in SERVED} <= paths.keys()
