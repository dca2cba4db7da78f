"""Metrics as Prometheus reads them: parsed, and held against the requests and the rows that were written."""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pyarrow as pa
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from pyiceberg.catalog.sql import SqlCatalog

from api.app import create_app
from api.catalog import CatalogReader, CatalogUnavailableError
from api.metrics import SECONDS_BUCKETS, Metrics
from contracts import served_tables, table
from settings import Settings
from stack.local.local_env import free_ports
from tests.unit.api.conftest import KEY

HEADERS = {"X-API-Key": KEY}
ROWS = "/v1/tables/bronze.traffic_events/rows"
TABLES = [declared.identifier for declared in served_tables()]
Samples = dict[tuple[tuple[str, str], ...], float]


def samples(text: str, name: str) -> Samples:
    """Values of the samples called ``name`` by their labels."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name:
                labels = tuple(sorted(sample.labels.items()))
                assert labels not in found, "a series stands twice"
                found[labels] = sample.value
    return found


def scrape(app: FastAPI) -> str:
    return generate_latest(app.state.metrics.registry).decode()


def by_table(text: str, name: str, **labels: str) -> dict[str, float]:
    return {
        dict(key)["table"]: value
        for key, value in samples(text, f"lakehouse_api_table_{name}").items()
        if labels.items() <= dict(key).items()
    }


def requests(text: str) -> Counter[tuple[str, str, str]]:
    counted = samples(text, "lakehouse_api_requests_total")
    return Counter(
        {tuple(dict(key)[name] for name in ("route", "method", "status")): n for key, n in counted.items()}
    )


@pytest.fixture
def own_app(settings: Settings, own_catalog: SqlCatalog) -> FastAPI:
    return create_app(settings, catalog_factory=lambda _: own_catalog)


@pytest.fixture
def own_client(own_app: FastAPI) -> Iterator[TestClient]:
    with TestClient(own_app, headers=HEADERS) as client:
        yield client


def test_requests_are_counted_by_route_method_and_class_of_status(
    own_app: FastAPI, own_client: TestClient
) -> None:
    for path in (ROWS, f"{ROWS}?limit=1", f"{ROWS}?limit=x", "/v1/tables/gold.a/rows", "/v1/tables/gold.b/rows"):
        own_client.get(path)
    own_client.get("/v1/tables/bronze.traffic_events", headers={"X-API-Key": "wrong"})
    own_client.post("/health/live")
    for path in ("/no/such/place", "/docs", "/v1/tables/bronze.traffic_events/rows/more"):
        own_client.get(path)
    own_client.request("BREW", "/health/live")
    expected = {
        (ROWS, "GET", "2xx"): 2,
        (ROWS, "GET", "4xx"): 1,
        ("/v1/tables/{identifier}/rows", "GET", "4xx"): 2,
        ("/health/live", "POST", "4xx"): 1,
        ("/health/live", "other", "4xx"): 1,
        # of one without a key nobody looks for a route
        ("other", "GET", "4xx"): 3,
        ("other", "GET", "2xx"): 1,
    }
    text = scrape(own_app)
    assert requests(text) == expected
    counts = samples(text, "lakehouse_api_request_seconds_count")
    assert sum(counts.values()) == sum(expected.values())
    assert counts == samples(text, "lakehouse_api_requests_total")


def test_the_histogram_is_one(own_app: FastAPI, own_client: TestClient) -> None:
    for _ in range(5):
        own_client.get("/health/live")
    text = scrape(own_app)
    buckets = {
        float(dict(key)["le"]): n for key, n in samples(text, "lakehouse_api_request_seconds_bucket").items()
    }
    assert sorted(buckets) == [*SECONDS_BUCKETS, float("inf")]
    counts = [buckets[limit] for limit in sorted(buckets)]
    assert counts == sorted(counts)
    assert counts[-1] == 5
    assert 0 < sum(samples(text, "lakehouse_api_request_seconds_sum").values()) < 5 * SECONDS_BUCKETS[-1]


def test_a_client_cannot_add_series(own_app: FastAPI, own_client: TestClient) -> None:
    for number in range(30):
        own_client.get(f"/v1/tables/gold.table_{number}/rows")
        own_client.get(f"/v1/family-{number}/latest")
        own_client.get(f"/path/{number}")
        own_client.request(f"METHOD{number}", "/v1/tables")
    assert len(requests(scrape(own_app))) == 4


def test_requests_in_flight_are_seen_while_they_are(settings: Settings, own_catalog: SqlCatalog) -> None:
    asked, released = threading.Event(), threading.Event()

    def waiting(_: Settings) -> SqlCatalog:
        asked.set()
        released.wait()
        return own_catalog

    app = create_app(settings, catalog_factory=waiting)

    def in_flight() -> float | None:
        # without the tables, which wait as well
        metrics: Metrics = app.state.metrics
        return metrics.registry.get_sample_value("lakehouse_api_requests_in_flight")

    with TestClient(app, headers=HEADERS) as client:
        request = threading.Thread(target=client.get, args=(ROWS,))
        request.start()
        asked.wait()
        during = in_flight()
        released.set()
        request.join()
        assert (during, in_flight()) == (1, 0)


def events(count: int, newest: datetime) -> list[dict[str, Any]]:
    return [
        {
            "event_id": f"event-{number}",
            "sensor_id": "traffic-0001",
            "event_time": newest - timedelta(minutes=number),
            "kafka_partition": 0,
            "kafka_offset": number,
            "kafka_time": newest,
        }
        for number in range(count)
    ]


def evaluation(name: str, *, passed: bool, severity: str) -> dict[str, Any]:
    return {
        "checked_at": datetime.now(UTC),
        "table_name": name,
        "check_name": "contract",
        "passed": passed,
        "severity": severity,
    }


def append(catalog: SqlCatalog, identifier: str, rows: list[dict[str, Any]]) -> datetime:
    loaded = catalog.load_table(identifier)
    loaded.append(pa.Table.from_pylist(rows, schema=loaded.schema().as_arrow()))
    return datetime.fromtimestamp(catalog.load_table(identifier).metadata.last_updated_ms / 1000, UTC)


@pytest.fixture(scope="module")
def written(own_catalog: SqlCatalog) -> Mapping[str, datetime]:
    """What was written: the newest event of a table of events and of one of windows, and when."""
    newest = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
    window = {"sensor_id": "traffic-0001", "window_start": newest, "window_end": newest + timedelta(hours=1)}
    append(
        own_catalog,
        "gold.quality_results",
        [
            evaluation("bronze.traffic_events", passed=True, severity="ERROR"),
            evaluation("gold.traffic_hourly", passed=False, severity="WARN"),
            evaluation("gold.weather_hourly", passed=False, severity="ERROR"),
        ],
    )
    append(own_catalog, "gold.traffic_hourly", [window | {"event_count": 1}])
    committed = append(own_catalog, "bronze.traffic_events", events(5, newest))
    return {"newest": newest, "committed": committed}


def test_the_age_of_each_table_is_that_of_its_newest_event(
    own_app: FastAPI, own_client: TestClient, written: Mapping[str, datetime]
) -> None:
    before = datetime.now(UTC)
    text = scrape(own_app)
    after = datetime.now(UTC)
    lags = by_table(text, "lag_seconds")
    # tables without a row have no age, and those with one reach to the end of its window
    assert lags.keys() == {"bronze.traffic_events", "gold.traffic_hourly", "gold.quality_results"}
    for name, reaches in (
        ("bronze.traffic_events", written["newest"]),
        ("gold.traffic_hourly", written["newest"] + timedelta(hours=1)),
    ):
        assert (before - reaches).total_seconds() <= lags[name] <= (after - reaches).total_seconds()
    ages = by_table(text, "snapshot_age_seconds")
    assert ages.keys() == lags.keys()
    low, high = (moment - written["committed"] for moment in (before, after))
    assert low.total_seconds() <= ages["bronze.traffic_events"] <= high.total_seconds()
    assert set(by_table(text, "read_errors_total").values()) == {0}


def test_limits_are_those_of_the_contracts(own_app: FastAPI, own_client: TestClient) -> None:
    text = scrape(own_app)
    for of, limit in (("warning", "warn_after"), ("failure", "fail_after")):
        assert by_table(text, "lag_limit_seconds", of=of) == {
            name: getattr(table(name).freshness, limit).total_seconds() for name in TABLES
        }


@pytest.mark.usefixtures("written")
def test_the_verdict_of_each_table_is_one(own_app: FastAPI, own_client: TestClient) -> None:
    text = scrape(own_app)
    verdicts = {each: by_table(text, "quality", verdict=each) for each in ("passed", "warned", "failed")}
    assert all(found.keys() == set(TABLES) for found in verdicts.values())
    assert {each: {name for name, value in found.items() if value} for each, found in verdicts.items()} == {
        "passed": {"bronze.traffic_events"},
        "warned": {"gold.traffic_hourly"},
        "failed": {"gold.weather_hourly"},
    }


@pytest.mark.usefixtures("written")
def test_without_the_catalog_a_scrape_works_and_says_so(
    own_app: FastAPI, own_client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = by_table(scrape(own_app), "lag_seconds")

    async def unavailable(*_: object) -> None:
        raise CatalogUnavailableError

    monkeypatch.setattr(CatalogReader, "table", unavailable)
    for scrapes in (1, 2):
        text = scrape(own_app)
        assert by_table(text, "read_errors_total") == dict.fromkeys(TABLES, scrapes)
    # the data goes on getting older
    lags = by_table(text, "lag_seconds")
    assert lags.keys() == known.keys()
    assert all(lags[name] > known[name] for name in known)
    assert by_table(text, "quality", verdict="passed")["bronze.traffic_events"] == 1


def test_a_catalog_that_hangs_does_not_hold_up_a_scrape(
    settings: Settings, own_catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.tables.metrics.PATIENCE_S", 0.05)
    released = threading.Event()

    def hanging(_: Settings) -> SqlCatalog:
        released.wait()
        return own_catalog

    app = create_app(settings, catalog_factory=hanging)
    with TestClient(app, headers=HEADERS):
        try:
            text = scrape(app)
            assert by_table(text, "read_errors_total") == dict.fromkeys(TABLES, 1)
            assert by_table(text, "lag_seconds") == {}
        finally:
            released.set()


def test_each_worker_has_a_port_and_a_further_one_works_without(caplog: pytest.LogCaptureFixture) -> None:
    first, second = ports = free_ports(2)
    workers = [Metrics() for _ in range(3)]
    for number, worker in enumerate(workers):
        worker.answered("/health/live", "GET", 200 + 100 * number, 0.01)

    def statuses(port: int) -> set[str]:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").raise_for_status().text
        return {status for _, _, status in requests(text)}

    with workers[0].served("127.0.0.1", ports), workers[1].served("127.0.0.1", ports):
        with workers[2].served("127.0.0.1", ports):
            assert "LAKEHOUSE_API_METRICS_PORT" in caplog.text
        assert statuses(first) == {"2xx"}
        assert statuses(second) == {"3xx"}
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{first}/metrics")


def test_the_service_serves_them_apart_from_the_api(settings: Settings, own_catalog: SqlCatalog) -> None:
    [port] = free_ports(1)
    own = settings.model_copy(update={"api_metrics_port": port})
    app = create_app(own, catalog_factory=lambda _: own_catalog, serve_metrics=True)
    with TestClient(app, headers=HEADERS) as client:
        client.get("/health/live")
        assert client.get("/metrics").status_code == 404
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").raise_for_status().text
    assert requests(text) == {("/health/live", "GET", "2xx"): 1, ("other", "GET", "4xx"): 1}
    assert by_table(text, "lag_limit_seconds", of="warning").keys() == set(TABLES)
