"""Limits of requests per key, over a real server, and without one."""

import logging
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from fractions import Fraction
from math import floor
from pathlib import Path

import pytest
import redis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from pyiceberg.catalog.sql import SqlCatalog

from api.app import create_app
from api.rate_limits import until_more_ms
from resources.api_keys import KeyFile, issue
from settings import Settings
from tests.unit.api.conftest import KEY
from tests.unit.api.token_issuer import Issuer, RsaKey, token

PATH = "/v1/tables"
# draft-ietf-httpapi-ratelimit-headers-10: a List of Strings with Integers as parameters (RFC 9651)
POLICY = re.compile(r'"key";q=(\d+);w=(\d+)')
LIMIT = re.compile(r'"key";r=(\d+);t=(\d+)')


@pytest.fixture(scope="module")
def own_settings(hot_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder: Path = tmp_path_factory.mktemp("keys")
    return hot_settings.model_copy(
        update={"api_keys_file": folder / "api-keys.json", "api_rate_limit": "4000/minute"}
    )


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine Redis may take longer than a request is held up for."""
    monkeypatch.setattr("api.rate_limits.PATIENCE_S", 60.0)


@pytest.fixture(scope="module")
def workers(own_settings: Settings, own_catalog: SqlCatalog) -> Iterator[list[TestClient]]:
    """Two processes' worth of the API, with one Redis."""
    with ExitStack() as stack:
        apps = [create_app(own_settings, catalog_factory=lambda _: own_catalog) for _ in range(2)]
        yield [stack.enter_context(TestClient(app)) for app in apps]


def key(settings: Settings, rate: str | None) -> dict[str, str]:
    kept, text = issue("test", datetime.now(UTC), rate=rate)
    KeyFile(settings.api_keys_file).add(kept)
    return {"X-API-Key": text}


def metric(client: TestClient, name: str) -> float:
    app = client.app
    assert isinstance(app, FastAPI)
    text = generate_latest(app.state.metrics.registry).decode()
    return float(re.findall(rf"^{name} (\S+)$", text, re.MULTILINE)[0])


def told(answer: object) -> tuple[int, ...]:
    """Quota, window, what remains, and when there is more."""
    policy = POLICY.fullmatch(answer.headers["RateLimit-Policy"])  # type: ignore[attr-defined]
    limit = LIMIT.fullmatch(answer.headers["RateLimit"])  # type: ignore[attr-defined]
    assert policy
    assert limit
    return tuple(int(text) for text in (*policy.groups(), *limit.groups()))


@pytest.mark.usefixtures("server")
def test_a_key_may_what_it_may_whichever_process_it_asks(
    workers: list[TestClient], own_settings: Settings
) -> None:
    headers = key(own_settings, "5/hour")
    limited = metric(workers[1], "lakehouse_api_rate_limited_total")
    for sent in range(5):
        answer = workers[sent % 2].get(PATH, headers=headers)
        assert answer.status_code == 200
        assert told(answer)[:3] == (5, 3600, 4 - sent)
    refused = workers[1].get(PATH, headers=headers)
    assert refused.status_code == 429
    assert refused.headers["Content-Type"] == "application/problem+json"
    document = refused.json()
    assert document["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert document["violated-policies"] == ["key"]
    assert "5 requests in 3600 s" in document["detail"]
    assert told(refused)[:3] == (5, 3600, 0)
    assert told(refused)[3] == int(refused.headers["Retry-After"]) > 3000
    assert metric(workers[1], "lakehouse_api_rate_limited_total") == limited + 1
    other = workers[0].get(PATH, headers=key(own_settings, "5/hour"))
    assert told(other)[2] == 4, "another key has its own"


@pytest.mark.usefixtures("server")
def test_after_the_time_that_it_is_told_a_key_is_answered_again(
    workers: list[TestClient], own_settings: Settings
) -> None:
    headers = key(own_settings, "2/second")
    answers = 0
    for _ in range(3):
        while (answer := workers[0].get(PATH, headers=headers)).status_code == 200:
            answers += 1
        assert answer.status_code == 429
        time.sleep(int(answer.headers["Retry-After"]))
        assert workers[1].get(PATH, headers=headers).status_code == 200
    assert answers


@pytest.mark.usefixtures("server")
def test_no_more_are_answered_than_may_be(workers: list[TestClient], own_settings: Settings) -> None:
    headers = key(own_settings, "500/hour")
    with ThreadPoolExecutor(8) as pool:
        statuses = Counter(
            pool.map(lambda sent: workers[sent % 2].get(PATH, headers=headers).status_code, range(560))
        )
    assert set(statuses) == {200, 429}
    # each process may hold a hundredth that it does not spend
    assert 490 <= statuses[200] <= 500


def test_a_key_with_much_asks_redis_once_for_many_requests(
    workers: list[TestClient], own_settings: Settings, server: redis.Redis
) -> None:
    def evaluated(rate: str, requests: int) -> int:
        headers = key(own_settings, rate)
        server.config_resetstat()
        remaining = [told(workers[0].get(PATH, headers=headers))[2] for _ in range(requests)]
        assert remaining == list(range(remaining[0], remaining[0] - requests, -1)), "all are counted the same"
        statistics = server.info("commandstats")
        assert isinstance(statistics, dict)
        return int(statistics["cmdstat_eval"]["calls"])

    # a round trip has two scripts: one takes, one says what is left
    assert evaluated("90/hour", 7) == 2 * 7
    assert evaluated("1000/hour", 50) == 2 * 5


@pytest.mark.usefixtures("server")
def test_what_is_free_and_what_has_the_default(workers: list[TestClient], own_settings: Settings) -> None:
    assert told(workers[0].get(PATH, headers=key(own_settings, None)))[:2] == (4000, 60)
    for path, headers in [
        (PATH, {"X-API-Key": KEY}),
        (PATH, key(own_settings, "unlimited")),
        (PATH, {"X-API-Key": "wrong"}),
        ("/health/live", {}),
        ("/health/ready", {}),
        ("/", {}),
        ("/docs", {}),
    ]:
        answer = workers[0].get(path, headers=headers)
        assert answer.status_code in {200, 401}
        assert "RateLimit" not in answer.headers
        assert "RateLimit-Policy" not in answer.headers


@pytest.mark.usefixtures("server")
def test_every_answer_tells_it_not_only_those_with_rows(workers: list[TestClient], own_settings: Settings) -> None:
    headers = key(own_settings, "50/hour")
    rows = "/v1/tables/gold.city_hourly/rows"
    tag = workers[0].get(rows, headers=headers).headers["ETag"]
    for path, more, status in [
        (rows, {"If-None-Match": tag}, 304),
        (f"{rows}?no=1", {}, 422),
        ("/v1/tables/no.such/rows", {}, 404),
        (f"{rows}?format=csv", {}, 200),
    ]:
        answer = workers[0].get(path, headers={**headers, **more})
        assert answer.status_code == status
        assert told(answer)[0] == 50


@pytest.mark.usefixtures("server")
def test_the_holder_of_tokens_has_one_limit_for_all_of_them(
    own_settings: Settings, own_catalog: SqlCatalog
) -> None:
    rsa = RsaKey("rsa-1")
    with Issuer(rsa).running() as issuer:
        own = own_settings.model_copy(update={"api_tokens": issuer.settings, "api_rate_limit": "2/hour"})
        with TestClient(create_app(own, catalog_factory=lambda _: own_catalog)) as client:
            statuses = [
                client.get(
                    PATH, headers={"Authorization": f"Bearer {token(rsa, jti=str(number), sub=holder)}"}
                ).status_code
                for number, holder in enumerate(["one", "one", "one", "two"])
            ]
    assert statuses == [200, 200, 429, 200]


def answered_without_limits(
    settings: Settings, catalog: SqlCatalog, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    own = settings.model_copy(update={"redis_port": port})
    headers = key(settings, "2/hour")
    with (
        caplog.at_level(logging.WARNING, "api"),
        TestClient(create_app(own, catalog_factory=lambda _: catalog)) as client,
    ):
        for _ in range(6):
            answer = client.get(PATH, headers=headers)
            assert answer.status_code == 200
            assert "RateLimit" not in answer.headers
        assert metric(client, "lakehouse_api_rate_unlimited_total") == 6
    assert "requests are not limited" in caplog.text


def test_while_redis_is_down_requests_are_not_limited(
    own_settings: Settings, own_catalog: SqlCatalog, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        answered_without_limits(own_settings, own_catalog, unused.getsockname()[1], caplog)


def test_while_redis_hangs_neither(
    own_settings: Settings,
    own_catalog: SqlCatalog,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("api.rate_limits.PATIENCE_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        answered_without_limits(own_settings, own_catalog, silent.getsockname()[1], caplog)


@given(
    window=st.integers(1, 60).map(lambda seconds: seconds * 1000),
    before=st.integers(0, 5000),
    share=st.fractions(0, 1),
)
def test_the_wait_is_as_long_as_a_request_counts(window: int, before: int, share: Fraction) -> None:
    left = int(share * window)

    def counted(after_ms: int) -> int:
        """Those of the window before, as the script of limits counts them."""
        return floor(Fraction(before * (left - after_ms), window))

    wait = until_more_ms(before, left, window)
    if counted(0):
        assert counted(wait) < counted(0) == counted(wait - 1)
    else:
        assert wait == left + 1, "the next window, in which those of this one begin to count less"
