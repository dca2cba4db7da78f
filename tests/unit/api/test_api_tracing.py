"""Traces as a collector gets them: OTLP over HTTP, decoded by the protocol's own messages."""

import gzip
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from fastapi.testclient import TestClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from pyiceberg.catalog.sql import SqlCatalog

from api.app import create_app
from api.logs import JsonLines
from settings import Settings
from tests.unit.api.conftest import KEY

ROUTE = "/v1/tables/bronze.traffic_events/rows"
PLACE, SENSOR = "a-secret-place", "a-secret-sensor"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """Keeps what is sent to it."""

    def __init__(self) -> None:
        self.received: list[tuple[str, bytes]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                assert self.headers["Content-Type"] == "application/x-protobuf"
                collector.received.append((self.path, body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator["Collector"]:
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    @property
    def spans(self) -> list[Span]:
        found = []
        for path, body in self.received:
            assert path == "/v1/traces"
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                names = {each.key: each.value.string_value for each in resource.resource.attributes}
                assert names["service.name"] == "lakehouse-api"
                for scope in resource.scope_spans:
                    found += scope.spans
        return found


def attributes(span: Span) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """What is logged, formatted when it is: the trace is that of the request under way."""
    formatted: list[dict[str, Any]] = []
    handler = logging.Handler()
    handler.emit = lambda record: formatted.append(json.loads(JsonLines().format(record)))  # type: ignore[method-assign]
    logger = logging.getLogger("api")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield formatted
    logger.setLevel(before)
    logger.removeHandler(handler)


def test_a_collector_gets_a_span_of_each_request_and_of_its_read(
    settings: Settings, catalog: SqlCatalog, lines: list[dict[str, Any]]
) -> None:
    with Collector().running() as collector:
        own = settings.model_copy(update={"otlp_endpoint": collector.endpoint})
        with TestClient(create_app(own, catalog_factory=lambda _: catalog)) as client:
            key = {"X-API-Key": KEY}
            answer = client.get(f"{ROUTE}?zone={PLACE}", headers={**key, "X-Request-ID": "mine"})
            client.get(ROUTE, headers={**key, "traceparent": f"00-{TRACE}-{PARENT}-01"})
            client.get(f"/v1/traffic/sensors/{SENSOR}/latest?api_key={KEY}", headers=key)
            client.get(f"/nowhere/{PLACE}", headers={"Authorization": f"Bearer {KEY}"})
            client.get("/health/live")
        spans = collector.spans
        sent = b"".join(body for _, body in collector.received)
    servers = [span for span in spans if span.kind == Span.SPAN_KIND_SERVER]
    assert [span.name for span in servers] == [
        f"GET {ROUTE}",
        f"GET {ROUTE}",
        "GET /v1/traffic/sensors/{sensor_id}/latest",
        "GET",
    ]
    first, continued = servers[:2]
    noted = attributes(first)
    assert noted["http.route"] == ROUTE
    assert noted["lakehouse.table"] == "bronze.traffic_events"
    assert noted["lakehouse.action"] == "read"
    assert noted["lakehouse.key_id"] == "installation"
    assert noted["lakehouse.request_id"] == "mine"
    assert noted["lakehouse.snapshot_id"] == answer.headers["Lakehouse-Snapshot-Id"]
    # the first request reads the rows, and how far the snapshot reaches
    reads = [span for span in spans if span.name == "read"]
    by_parent = {server.span_id: server for server in servers[:2]}
    assert {span.parent_span_id for span in reads} == by_parent.keys()
    for read in reads:
        server = by_parent[read.parent_span_id]
        assert read.trace_id == server.trace_id
        assert server.start_time_unix_nano <= read.start_time_unix_nano
        assert read.end_time_unix_nano <= server.end_time_unix_nano
    assert (continued.trace_id.hex(), continued.parent_span_id.hex()) == (TRACE, PARENT)
    access = [line for line in lines if line["message"] == "answered"]
    assert [line.get("trace_id") for line in access] == [*(span.trace_id.hex() for span in servers), None]
    assert access[0]["request_id"] == "mine"
    for secret in (KEY, PLACE, SENSOR):
        assert secret.encode() not in sent


def test_a_collector_that_is_not_there_changes_no_answer(settings: Settings, catalog: SqlCatalog) -> None:
    own = settings.model_copy(update={"otlp_endpoint": "http://127.0.0.1:9"})
    with TestClient(create_app(own, catalog_factory=lambda _: catalog), headers={"X-API-Key": KEY}) as client:
        assert client.get(ROUTE).status_code == 200


def test_without_a_collector_no_line_names_a_trace(client: TestClient, lines: list[dict[str, Any]]) -> None:
    client.get(ROUTE, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
    assert "trace_id" not in lines[-1]
