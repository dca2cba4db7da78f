"""What goes wrong is a problem document that says what to change, and never a stack trace."""

import threading
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import ServiceUnavailableError

from api.app import create_app
from contracts import table as contract
from resources.iceberg_schema import iceberg_schema
from settings import Settings

KEY = {"X-API-Key": "the-key-of-these-tests"}
TABLE = contract("bronze.traffic_events")
ROWS = f"/v1/tables/{TABLE.identifier}/rows"
HOSTILE = [
    "'; DROP TABLE events; --",
    '" OR 1=1 --',
    "1 OR 1=1",
    "\x00",
    "%00",
    "../../etc/passwd",
    "{{7*7}}",
    "${jndi:ldap://x}",
    "\U0001f600",
    "\u202eevil",
    "9" * 5000,
    "-" * 200,
    "nan",
    "1e999",
    ",",
    "",
    " ",
]
TEXT_PARAMETERS = [f"zone{operator}" for operator in ("", "__eq", "__ne", "__lt", "__le", "__gt", "__ge", "__in")]
TYPED_PARAMETERS = [
    "columns",
    "order",
    "limit",
    "cursor",
    "format",
    "from",
    "to",
    "bbox",
    *(
        f"{column.name}{operator}"
        for column in TABLE.columns
        if column.type != "string"
        for operator in ("", "__ne", "__lt", "__in", "__between", "__is_null")
    ),
    "zone__is_null",
    "no_such_parameter",
]


def problem(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert {"type", "title", "detail"} <= document.keys()
    assert "Traceback" not in answer.text
    return document


@pytest.mark.parametrize("parameter", TYPED_PARAMETERS)
def test_hostile_text_in_a_typed_parameter_is_refused_by_name(client: TestClient, parameter: str) -> None:
    for text in HOSTILE:
        document = problem(client.get(ROWS, params={parameter: text}), 422)
        assert [error["parameter"] for error in document["errors"]] == [parameter]


@pytest.mark.parametrize("parameter", TEXT_PARAMETERS)
def test_hostile_text_in_a_text_filter_is_only_text(client: TestClient, parameter: str) -> None:
    for text in HOSTILE:
        answer = client.get(ROWS, params={parameter: text, "limit": 300, "columns": "zone"})
        assert answer.status_code == 200, answer.text
        if parameter in {"zone", "zone__eq", "zone__in"}:
            assert answer.json()["rows"] == []


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("parameter", ["measures", "group_by", "time_bucket", "limit", "format", "sensor"])
def test_hostile_aggregates_are_refused(client: TestClient, parameter: str, text: str) -> None:
    problem(client.get(f"/v1/tables/{TABLE.identifier}/aggregate", params={parameter: text}), 422)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_snapshots_are_refused(client: TestClient, text: str) -> None:
    answer = client.get(ROWS, params={"as_of": text})
    problem(answer, answer.status_code)
    assert answer.status_code in {404, 422}


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_are_refused(client: TestClient, text: str) -> None:
    problem(client.get(ROWS, params={text: "1"}), 422)
    if text.strip(" ./"):
        path = "".join(f"%{byte:02X}" for byte in text[:300].encode())
        for suffix in ("", "/rows", "/aggregate"):
            problem(client.get(f"/v1/tables/{path}{suffix}"), 404)


def test_all_wrong_parameters_are_told_at_once(client: TestClient) -> None:
    answer = client.get(ROWS, params={"vehicle_count": "many", "columns": "sped", "frm": "x", "from": "yesterday"})
    document = problem(answer, 422)
    assert {error["parameter"] for error in document["errors"]} == {"vehicle_count", "columns", "frm", "from"}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("avg_sped_kmh=1", "avg_speed_kmh"),
        ("vehicle_count__like=1", "__in"),
        ("columns=zone,sped", "avg_speed_kmh"),
        ("columns=zone,zone", "twice"),
        ("order=zone,-zone", "twice"),
        ("order=+zone", "no column"),
        ("zone=a&zone=b", "zone__in=a,b"),
        ("limit=1&limit=2", "given 2 times"),
        ("limit=0", "greater than or equal to 1"),
        ("limit=301", "less than or equal to 300"),
        ("vehicle_count=1.5", "whole number"),
        ("vehicle_count=9223372036854775808", "64 bits"),
        ("kafka_partition=2147483648", "32 bits"),
        ("avg_speed_kmh=fast", "not a number"),
        ("avg_speed_kmh=inf", "not a number"),
        ("vehicle_count__in=1,,2", "whole number"),
        ("zone__is_null=maybe", "true or false"),
        ("avg_speed_kmh__between=1", "two values"),
        ("avg_speed_kmh__between=1,2,3", "two values"),
        ("vehicle_count__between=1,two", "whole number"),
        ("zone__like=%25tre", "no other pattern"),
        ("zone__like=c_ntre", r"\%"),
        ("zone__like=a\\\\\\", r"\\"),
        ("event_time__like=2026%25", "event_time__le"),
        ("bbox=13.3,52.4,13.5", "west,south,east,north"),
        ("bbox=13.3,52.4,13.5,52.6,0", "west,south,east,north"),
        ("bbox=13.3,52.6,13.5,52.4", "south 52.6 and north 52.4"),
        ("bbox=13.3,52.4,13.5,90.1", "latitudes"),
        ("bbox=13.3,-91,13.5,52.6", "latitudes"),
        ("bbox=180.1,52.4,13.5,52.6", "-180 to 180"),
        ("bbox=13.3,52.4,-180.1,52.6", "-180 to 180"),
        ("bbox=nan,52.4,13.5,52.6", "west,south,east,north"),
        ("from=2026-03-01", "2026-03-01T08:00:00Z"),
        ("from=2026-03-01T08:00:00", "2026-03-01T08:00:00Z"),
        ("from=1772352000", "2026-03-01T08:00:00Z"),
        ("from=2026-02-30T08:00:00Z", "2026-03-01T08:00:00Z"),
        ("from=0001-01-01T00:00:00%2B01:00", "2026-03-01T08:00:00Z"),
        ("from=2026-03-01T08:00:00+01:00", "%2B"),
    ],
)
def test_the_answer_says_what_is_allowed(client: TestClient, query: str, expected: str) -> None:
    assert expected in problem(client.get(f"{ROWS}?{query}"), 422)["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/tables",
        f"/v1/tables/{TABLE.identifier}",
        "/v1/quality",
        "/v1/quality/report",
        f"/v1/quality/{TABLE.identifier}",
        "/v1/traffic/latest",
        "/v1/traffic/sensors/traffic-1/latest",
        "/v1/traffic/stream",
        "/v1/traffic/windows",
        ROWS,
        f"/v1/tables/{TABLE.identifier}/aggregate",
    ],
)
def test_no_route_takes_parameters_that_it_does_not_know(client: TestClient, app: FastAPI, path: str) -> None:
    document = problem(client.get(f"{path}?zonee=a&zone_id=b"), 422)
    assert {error["parameter"] for error in document["errors"]} == {"zonee", "zone_id"}
    template = path.replace("traffic-1", "{sensor_id}")
    if template not in app.openapi()["paths"]:
        template = path.replace(TABLE.identifier, "{identifier}")
    described = app.openapi()["paths"][template]["get"]
    assert "422" in described["responses"]
    for parameter in described.get("parameters", []):
        if parameter["in"] == "query" and parameter["name"] != "filters":
            name = parameter["name"]
            value = "json" if name == "format" else "1"
            document = problem(client.get(f"{path}?{name}={value}&{name}={value}"), 422)
            assert f"{name}: given 2 times" in document["detail"]


def test_without_a_key_no_parameter_is_told(app: FastAPI) -> None:
    with TestClient(app) as client:
        problem(client.get("/v1/traffic/windows?zonee=a"), 401)


@pytest.mark.parametrize("path", ["trafic/latest", "trafic/windows", "trafic/stream", "tables/a.b/rows"])
def test_what_is_not_there_is_404_whatever_is_sent(client: TestClient, path: str) -> None:
    problem(client.get(f"/v1/{path}?zonee=a"), 404)


@pytest.mark.parametrize("suffix", ["", "/rows", "/aggregate"])
def test_an_unknown_table_is_answered_with_near_ones(client: TestClient, suffix: str) -> None:
    detail = problem(client.get(f"/v1/tables/bronze.trafic_event{suffix}"), 404)["detail"]
    assert "did you mean bronze.traffic_events" in detail


def test_a_wrong_address_or_method_is_a_problem_too(client: TestClient) -> None:
    assert "/docs" in problem(client.get("/v2/tables"), 404)["detail"]
    assert "GET" in problem(client.post("/v1/tables"), 405)["detail"]


@pytest.mark.parametrize(
    "error",
    [ConnectionError("refused at 10.0.0.7"), TimeoutError(), ServiceUnavailableError("refused at 10.0.0.7")],
)
def test_a_dead_catalog_is_503_until_it_is_back(settings: Settings, catalog: SqlCatalog, error: Exception) -> None:
    alive = False

    def factory(_: Settings) -> SqlCatalog:
        if alive:
            return catalog
        raise error

    with TestClient(create_app(settings, catalog_factory=factory), headers=KEY) as client:
        assert client.get("/health/live").status_code == 200
        for route in ("/health/ready", ROWS, f"/v1/tables/{TABLE.identifier}"):
            answer = client.get(route)
            assert "does not answer" in problem(answer, 503)["detail"]
            assert "10.0.0.7" not in answer.text
            assert int(answer.headers["Retry-After"]) > 0
        listed = client.get("/v1/tables").json()
        assert listed["catalog_reachable"] is False
        assert {entry["row_count"] for entry in listed["tables"]} == {None}

        alive = True
        for route in ("/health/ready", ROWS, f"/v1/tables/{TABLE.identifier}", "/v1/tables"):
            assert client.get(route).status_code == 200


def test_a_catalog_that_hangs_is_503(
    settings: Settings, catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.catalog.METADATA_TIMEOUT_S", 0.05)
    released = threading.Event()

    def hanging(_: Settings) -> SqlCatalog:
        released.wait()
        return catalog

    with TestClient(create_app(settings, catalog_factory=hanging), headers=KEY) as client:
        try:
            problem(client.get("/health/ready"), 503)
            assert client.get("/health/live").status_code == 200
        finally:
            released.set()


def test_data_files_that_cannot_be_read_are_503(
    settings: Settings, catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(*_: object) -> None:
        raise OSError("When reading information for key: network connection")

    with TestClient(create_app(settings, catalog_factory=lambda _: catalog), headers=KEY) as client:
        monkeypatch.setattr("pyiceberg.io.pyarrow.ArrowScan.to_table", unreadable)
        problem(client.get(ROWS), 503)


def test_tables_that_are_not_created_yet_are_named(settings: Settings, tmp_path: Any) -> None:
    empty = SqlCatalog("empty", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}")
    with TestClient(create_app(settings, catalog_factory=lambda _: empty), headers=KEY) as client:
        for route in ("/health/ready", ROWS, f"/v1/tables/{TABLE.identifier}"):
            assert f"{TABLE.identifier} is declared but not created" in problem(client.get(route), 503)["detail"]
        listed = client.get("/v1/tables").json()
        assert listed["catalog_reachable"] is True
        assert {entry["snapshot_id"] for entry in listed["tables"]} == {None}


def test_a_table_that_lacks_a_column_of_the_contract_is_named(settings: Settings, tmp_path: Any) -> None:
    behind = SqlCatalog("behind", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}")
    behind.create_namespace("bronze")
    names = tuple(column.name for column in TABLE.columns if column.name != "zone")
    behind.create_table(TABLE.identifier, iceberg_schema(TABLE).select(*names))
    with TestClient(create_app(settings, catalog_factory=lambda _: behind), headers=KEY) as client:
        assert "does not have zone yet" in problem(client.get(ROWS), 503)["detail"]


def test_an_unexpected_error_tells_the_client_nothing(
    settings: Settings, catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("internal detail")

    monkeypatch.setattr("api.rows.service.matching_rows", fail)
    app = create_app(settings, catalog_factory=lambda _: catalog)
    with TestClient(app, headers=KEY, raise_server_exceptions=False) as client:
        answer = client.get(ROWS)
    assert "internal detail" not in problem(answer, 500)["detail"]
