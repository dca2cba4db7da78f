"""Access tokens of an issuer: which are accepted, and what becomes of them while its keys are out of reach."""

import asyncio
import hashlib
import hmac
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pyiceberg.catalog.sql import SqlCatalog

from api.app import create_app
from api.logs import JsonLines
from api.tokens import SigningKeysUnavailableError, TokenVerifier
from client import ApiError, Lakehouse
from contracts import served_tables
from settings import Settings
from tests.unit.api.token_issuer import AUDIENCE, DAY_S, EcKey, Issuer, RsaKey, claims, encoded, token

RSA, EC, STRANGER = RsaKey("rsa-1"), EcKey("ec-1"), RsaKey("rsa-1")
ROWS = "/v1/tables/bronze.traffic_events/rows?limit=1"
PLACE = "a-secret-place"


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer(RSA, EC).running() as running:
        yield running


@pytest.fixture
def fresh() -> Iterator[Issuer]:
    """An issuer that was never asked."""
    with Issuer(RSA).running() as running:
        yield running


@pytest.fixture(scope="module")
def client(issuer: Issuer, settings: Settings, catalog: SqlCatalog) -> Iterator[TestClient]:
    own = settings.model_copy(update={"api_tokens": issuer.settings})
    with TestClient(create_app(own, catalog_factory=lambda _: catalog)) as client:
        yield client


def sent(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


@pytest.mark.parametrize(
    "good",
    [
        token(RSA),
        token(EC),
        token(RSA, aud=["https://other.example.org", AUDIENCE]),
        token(RSA, scope="openid read:bronze.* email"),
        token(RSA, scope=["read:bronze.traffic_events", "live:*"]),
        token(RSA, nbf=int(time.time()) - 5),
    ],
)
def test_a_token_that_is_good_is_accepted(client: TestClient, good: str) -> None:
    assert client.get(ROWS, headers=sent(good)).status_code == 200


def test_the_client_package_sends_it(client: TestClient) -> None:
    with Lakehouse("http://testserver", token(RSA), transport=client._transport) as lakehouse:
        assert {table.identifier for table in lakehouse.tables()} == {each.identifier for each in served_tables()}
    stranger = Lakehouse("http://testserver", token(STRANGER), transport=client._transport)
    with stranger as lakehouse, pytest.raises(ApiError, match="signature is wrong"):
        lakehouse.tables()


def unsigned(algorithm: str, secret: bytes | None = None) -> str:
    text = f"{encoded({'alg': algorithm, 'kid': RSA.identifier})}.{encoded(claims())}"
    return f"{text}.{'' if secret is None else encoded(hmac.digest(secret, text.encode(), hashlib.sha256))}"


def with_other_claims(good: str, **others: Any) -> str:
    head, _, signature = good.split(".")
    return f"{head}.{encoded(claims(**others))}.{signature}"


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (token(RSA, exp=int(time.time()) - 60), "expired"),
        (token(RSA, nbf=int(time.time()) + DAY_S), "not valid yet"),
        (token(RSA, aud="https://other.example.org"), "not for this API"),
        (token(RSA, iss="https://issuer.example.org/realms/town"), "another issuer"),
        (token(RSA, exp=None), "lacks the claim exp"),
        (token(RSA, iss=None), "lacks the claim iss"),
        (token(RSA, aud=None), "lacks the claim aud"),
        (token(RSA, sub=None), "lacks the claim sub"),
        (token(STRANGER), "signature is wrong"),
        (with_other_claims(token(RSA), scope="live:*"), "signature is wrong"),
        (token(RSA, header={"alg": "RS512"}), "not allowed"),
        (token(RSA, header={"alg": "ES256"}), "not allowed"),
        (unsigned("none"), "not allowed"),
        # the mistake of CVE-2015-9235: what is public as the secret of a signature by a shared one
        (unsigned("HS256", RSA.published["n"].encode()), "not allowed"),
        (token(RSA, header={"kid": "rsa-2"}), "no key of that name"),
        (token(RSA, header={"kid": None}), "malformed"),
        (token(RSA, header={"kid": 7}), "malformed"),
        (token(RSA, header={"crit": ["exp"]}), "malformed"),
        ("a.b.c", "malformed"),
        ("..", "malformed"),
        ("é.ü.ß", "malformed"),
    ],
)
def test_any_other_is_refused_and_told_why(client: TestClient, bad: str, why: str) -> None:
    answer = client.get(ROWS, headers={"Authorization": f"Bearer {bad}".encode()})
    assert answer.status_code == 401
    assert why in answer.json()["detail"]
    assert answer.headers["Content-Type"] == "application/problem+json"
    told = answer.headers["WWW-Authenticate"]
    assert told.startswith('Bearer realm="lakehouse", error="invalid_token", error_description="')
    assert why in told
    assert "Traceback" not in answer.text


def test_a_token_is_no_key(client: TestClient, settings: Settings, catalog: SqlCatalog) -> None:
    assert client.get(ROWS, headers={"X-API-Key": token(RSA)}).status_code == 401
    with TestClient(create_app(settings, catalog_factory=lambda _: catalog)) as without_issuer:
        answer = without_issuer.get(ROWS, headers=sent(token(RSA)))
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="lakehouse"')


def test_keys_go_on_beside_tokens(client: TestClient, settings: Settings) -> None:
    key = settings.api_key.get_secret_value()
    for headers in ({"X-API-Key": key}, sent(key)):
        assert client.get(ROWS, headers=headers).status_code == 200
    assert client.get(ROWS, headers=sent(f"{key}x")).status_code == 401


@pytest.mark.parametrize(
    "scope", [None, "", "openid", "read", "read:", "write:*", 7, {"read:*": True}, [["read:*"]]]
)
def test_without_a_scope_for_a_table_there_is_none(client: TestClient, scope: Any) -> None:
    headers = sent(token(RSA, scope=scope))
    answer = client.get(ROWS, headers=headers)
    assert answer.status_code == 403
    assert "read:bronze.traffic_events" in answer.json()["detail"]
    assert 'error="insufficient_scope", scope="read:bronze.traffic_events"' in answer.headers["WWW-Authenticate"]
    assert client.get("/v1/tables", headers=headers).json()["tables"] == []


def test_scopes_are_for_an_action_and_tables(client: TestClient) -> None:
    headers = sent(token(RSA, scope="live:gold.* read:silver.*"))
    listed = {table["identifier"] for table in client.get("/v1/tables", headers=headers).json()["tables"]}
    assert listed == {
        table.identifier for table in served_tables() if table.identifier.startswith(("gold.", "silver."))
    }
    assert client.get("/v1/tables/gold.city_hourly/rows", headers=headers).status_code == 403
    assert client.get("/v1/tables/silver.traffic_1m/rows", headers=headers).status_code == 200


def test_another_claim_may_hold_the_scopes(issuer: Issuer) -> None:
    own = issuer.settings.model_copy(update={"scope_claim": "permissions"})
    held = asyncio.run(TokenVerifier(own).holder(token(RSA, scope="live:*", permissions=["read:gold.*"])))
    assert held.scopes == (("read", "gold.*"),)


def test_neither_a_token_nor_what_is_asked_for_is_in_the_log(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    good, bad = token(RSA), token(STRANGER)
    for text in (good, bad):
        client.get(f"{ROWS}&zone={PLACE}", headers=sent(text))
    written = "\n".join(JsonLines().format(record) for record in caplog.records if record.name != "httpx")
    assert '"key_id":"token:dashboard"' in written
    for secret in (PLACE, *good.split("."), *bad.split(".")):
        assert secret not in written


def test_the_keys_are_asked_for_once_for_all(fresh: Issuer) -> None:
    async def many() -> None:
        verifier = TokenVerifier(fresh.settings)
        await asyncio.gather(*(verifier.holder(token(RSA)) for _ in range(20)))
        await verifier.holder(token(RSA))

    asyncio.run(many())
    assert fresh.asked == 1


def test_a_new_key_is_found_but_not_by_asking_for_each_name(
    fresh: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def rotate() -> None:
        verifier = TokenVerifier(fresh.settings)
        await verifier.holder(token(RSA))
        rotated = RsaKey("rsa-2")
        fresh.keys = [rotated]
        for name in ("rsa-2", "x", "y", "z"):
            with pytest.raises(Exception, match="no key of that name"):
                await verifier.holder(token(rotated, header={"kid": name}))
        assert fresh.asked == 1, "it was asked a moment ago"
        monkeypatch.setattr("api.tokens.COOLDOWN_S", 0)
        await verifier.holder(token(rotated))
        assert fresh.asked == 2
        with pytest.raises(Exception, match="no key of that name"):
            await verifier.holder(token(RSA))

    asyncio.run(rotate())


def test_known_keys_go_on_while_the_issuer_is_down_and_unknown_ones_are_503(
    fresh: Issuer, settings: Settings, catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = settings.model_copy(update={"api_tokens": fresh.settings})
    with TestClient(create_app(own, catalog_factory=lambda _: catalog)) as client:
        assert client.get(ROWS, headers=sent(token(RSA))).status_code == 200
        fresh.status = 500
        monkeypatch.setattr("api.tokens.KEEP_S", 0)
        monkeypatch.setattr("api.tokens.COOLDOWN_S", 0)
        asked = fresh.asked
        unknown = client.get(ROWS, headers=sent(token(RsaKey("rsa-2"))))
        assert fresh.asked > asked
        assert unknown.status_code == 503
        assert int(unknown.headers["Retry-After"]) > 0
        for _ in range(3):
            assert client.get(ROWS, headers=sent(token(RSA))).status_code == 200


def test_an_issuer_that_does_not_answer_holds_up_nobody_else(
    fresh: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh.answering.clear()
    monkeypatch.setattr("api.tokens.FETCH_TIMEOUT_S", 0.2)

    async def wait() -> int:
        verifier = TokenVerifier(fresh.settings)
        waiting = asyncio.create_task(verifier.holder(token(RSA)))
        turns = 0
        while not waiting.done():
            await asyncio.sleep(0)
            turns += 1
        with pytest.raises(SigningKeysUnavailableError):
            await waiting
        return turns

    assert asyncio.run(wait()) > 10, "the event loop went on"
