"""Each request has an id, which stands in its answer and in one line of the log that gives no secret away."""

import json
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.catalog.sql import SqlCatalog

from api.app import create_app
from api.logs import JsonLines, write_json_lines
from api.observation import _sane_id
from resources.api_keys import KeyFile, issue
from settings import Settings
from tests.unit.api.conftest import KEY

ROWS = "/v1/tables/bronze.traffic_events/rows"
ID = "X-Request-ID"
MADE = re.compile(r"[0-9a-f]{32}")


def lines(caplog: pytest.LogCaptureFixture, logger: str = "api.access") -> list[dict[str, Any]]:
    return [json.loads(JsonLines().format(record)) for record in caplog.records if record.name == logger]


@pytest.mark.parametrize("sent", ["7", "a.b_c:d-e", "0af7651916cd43dd8448eb211c80319c", "x" * 128])
def test_a_sane_id_is_kept(client: TestClient, sent: str) -> None:
    assert client.get("/health/live", headers={ID: sent}).headers[ID] == sent


@pytest.mark.parametrize("sent", ["", " ", "a b", "x" * 129, 'a"b', "a{b}", "-a", "\xe9", "a,b", "$(x)", "a\\nb"])
def test_any_other_is_replaced(client: TestClient, sent: str) -> None:
    answered = client.get("/health/live", headers={ID: sent.encode("latin-1")}).headers[ID]
    assert MADE.fullmatch(answered)


@given(st.binary(max_size=200))
def test_what_is_kept_breaks_neither_a_header_nor_a_log(sent: bytes) -> None:
    kept = _sane_id(sent)
    if kept is not None:
        assert kept.encode() == sent
        assert kept.isascii()
        assert kept.isprintable()
        assert not set(kept) & set(" \"'\\,;<>{}$`%")


def test_of_two_ids_the_first_is_kept(client: TestClient) -> None:
    assert client.get("/health/live", headers=[(ID, "one"), (ID, "two")]).headers.get_list(ID) == ["one"]


def test_each_request_has_an_id_of_its_own(client: TestClient) -> None:
    assert len({client.get("/health/live").headers[ID] for _ in range(20)}) == 20


@pytest.mark.parametrize(
    ("path", "status"),
    [(ROWS, 200), ("/nothing", 404), ("/v1/tables/gold.nothing", 404), (f"{ROWS}?limit=x", 422)],
)
def test_answers_and_problems_have_the_id(client: TestClient, path: str, status: int) -> None:
    answer = client.get(path, headers={ID: "mine"})
    assert answer.status_code == status
    assert answer.headers.get_list(ID) == ["mine"]
    if status >= 400:
        assert answer.json()["request_id"] == "mine"


def test_an_answer_that_is_known_and_one_without_a_key_have_it_too(client: TestClient) -> None:
    tag = client.get(ROWS).headers["ETag"]
    known = client.get(ROWS, headers={ID: "mine", "If-None-Match": tag})
    assert (known.status_code, known.headers[ID]) == (304, "mine")
    refused = client.get(ROWS, headers={ID: "mine", "X-API-Key": "wrong"})
    assert (refused.status_code, refused.headers[ID], refused.json()["request_id"]) == (401, "mine", "mine")


def test_an_unexpected_error_is_in_the_log_with_its_trace_under_the_id(
    settings: Settings, catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("internal detail")

    monkeypatch.setattr("api.rows.service.matching_rows", fail)
    formatted: list[dict[str, Any]] = []
    handler = logging.Handler()
    # formatted when it is logged: the id is that of the request under way
    handler.emit = lambda record: formatted.append(json.loads(JsonLines().format(record)))  # type: ignore[method-assign]
    logging.getLogger("api").addHandler(handler)
    app = create_app(settings, catalog_factory=lambda _: catalog)
    try:
        with (
            caplog.at_level(logging.INFO, "api"),
            TestClient(app, headers={"X-API-Key": KEY}, raise_server_exceptions=False) as client,
        ):
            answer = client.get(ROWS, headers={ID: "mine"})
    finally:
        logging.getLogger("api").removeHandler(handler)
    assert (answer.status_code, answer.headers.get_list(ID)) == (500, ["mine"])
    assert answer.json()["request_id"] == "mine"
    trace, access = formatted
    assert "RuntimeError: internal detail" in trace["exception"]
    assert (trace["level"], trace["request_id"]) == ("error", "mine")
    assert (access["status"], access["request_id"]) == (500, "mine")


def test_there_is_one_line_for_each_request(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "api.access")
    client.get(f"{ROWS}?zone=centre")
    client.get("/v1/tables/nowhere.secret-name/rows")
    client.get("/no/such/place")
    client.get(ROWS, headers={"X-API-Key": "a-key-that-is-wrong"})
    client.post("/v1/tables")
    shown = [(line["method"], line["route"], line["status"], line["key_id"]) for line in lines(caplog)]
    assert shown == [
        ("GET", ROWS, 200, "installation"),
        ("GET", "/v1/tables/{identifier}/rows", 404, "installation"),
        ("GET", None, 404, None),
        ("GET", None, 401, None),
        ("POST", "/v1/tables", 405, "installation"),
    ]
    for line in lines(caplog):
        assert 0 <= line["begun_ms"] <= line["duration_ms"]
        assert line["message"] == "answered"


def test_a_line_says_who_read_what_and_how_much(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "api.access")
    read = client.get(f"{ROWS}?format=csv")
    client.get(f"{ROWS}?format=csv", headers={"If-None-Match": read.headers["ETag"]})
    streamed = client.get(f"{ROWS}?limit=all&format=ndjson")
    client.get("/v1/tables/gold.city_hourly")
    client.get("/v1/tables")
    snapshot = read.headers["Lakehouse-Snapshot-Id"]
    of_rows = {
        "key_id": "installation",
        "action": "read",
        "table": "bronze.traffic_events",
        "snapshot_id": snapshot,
    }
    first, known, all_rows, described, listed = lines(caplog)
    assert first.items() >= {**of_rows, "sent_bytes": len(read.content)}.items()
    assert known.items() >= {**of_rows, "status": 304, "sent_bytes": 0}.items()
    assert all_rows.items() >= {**of_rows, "sent_bytes": len(streamed.content)}.items()
    assert (described["action"], described["table"]) == ("describe", "gold.city_hourly")
    assert (listed["key_id"], listed["table"], listed["snapshot_id"]) == ("installation", None, None)


def test_what_is_refused_is_noted_with_what_was_wanted(
    settings: Settings, catalog: SqlCatalog, caplog: pytest.LogCaptureFixture
) -> None:
    key, text = issue("small", datetime.now(UTC), tables=["gold.*"])
    KeyFile(settings.api_keys_file).add(key)
    caplog.set_level(logging.INFO, "api.access")
    with TestClient(create_app(settings, catalog_factory=lambda _: catalog)) as client:
        assert client.get(ROWS, headers={"X-API-Key": text}).status_code == 403
    (line,) = lines(caplog)
    assert (line["key_id"], line["action"], line["table"]) == (key.id, "read", "bronze.traffic_events")
    assert (line["status"], line["snapshot_id"]) == (403, None)


def test_a_line_has_neither_key_nor_query_nor_path(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "api")
    client.get(f"{ROWS}?zone=a-secret-place")
    client.get(f"{ROWS}?api_key={KEY}")
    client.get("/v1/traffic/sensors/a-secret-sensor/latest")
    written = "\n".join(JsonLines().format(record) for record in caplog.records if record.name.startswith("api"))
    assert written.count('"answered"') == 3
    for secret in (KEY, "a-secret-place", "a-secret-sensor"):
        assert secret not in written


@pytest.fixture
def _own_logger() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("api", "opentelemetry")]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.mark.usefixtures("_own_logger")
def test_a_service_writes_json_lines_to_stderr(client: TestClient, capsys: pytest.CaptureFixture[str]) -> None:
    write_json_lines()
    write_json_lines()
    client.get("/health/live", headers={ID: "mine"})
    logging.getLogger("api.catalog").warning("the %s\ndoes not answer", "catalog")
    logging.getLogger("opentelemetry.exporter").warning("the collector does not answer")
    access, warning, export = map(json.loads, capsys.readouterr().err.splitlines())
    assert (access["request_id"], access["route"], access["status"]) == ("mine", "/health/live", 200)
    assert (warning["level"], warning["message"]) == ("warning", "the catalog\ndoes not answer")
    assert warning["request_id"] is None
    assert export["message"] == "the collector does not answer"
    assert access["time"].endswith("Z")
