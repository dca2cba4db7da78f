"""Keys and tokens for some tables: what each may, on every route that the API has."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path

import pytest
import redis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pyiceberg.catalog.sql import SqlCatalog

from api.app import create_app
from contracts import families, served_tables
from resources.api_keys import Action, ApiKey, KeyFile, issue
from settings import Settings
from tests.unit.api.token_issuer import Issuer, RsaKey, token

RSA, STRANGER = RsaKey("rsa-1"), RsaKey("rsa-1")
KEY = "the-key-of-these-tests"
DENIED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
TABLES = [table.identifier for table in served_tables()]
FAMILIES = [family.name for family in families()]


def routes() -> list[tuple[str, Action | None, str]]:
    """Each route with what it needs: an action with a table, or the sight of a table."""
    of_tables: list[tuple[str, Action | None, str]] = []
    for table in TABLES:
        of_tables += [
            (f"/v1/tables/{table}", None, table),
            (f"/v1/quality/{table}", None, table),
            (f"/v1/tables/{table}/rows?limit=1", Action.READ, table),
            (f"/v1/tables/{table}/aggregate?measures=count", Action.READ, table),
        ]
    for family in FAMILIES:
        of_tables += [
            (f"/v1/{family}/windows?limit=1", Action.READ, f"silver.{family}_5m"),
            (f"/v1/{family}/latest", Action.LIVE, f"bronze.{family}_events"),
            (f"/v1/{family}/sensors/s1/latest", Action.LIVE, f"bronze.{family}_events"),
        ]
    return of_tables


@pytest.fixture(scope="module")
def own_settings(hot_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    folder: Path = tmp_path_factory.mktemp("keys")
    with Issuer(RSA).running() as issuer:
        yield hot_settings.model_copy(
            update={"api_keys_file": folder / "api-keys.json", "api_tokens": issuer.settings}
        )


@pytest.fixture(scope="module")
def anonymous(own_settings: Settings, own_catalog: SqlCatalog) -> Iterator[TestClient]:
    app: FastAPI = create_app(own_settings, catalog_factory=lambda _: own_catalog)
    with TestClient(app) as client:
        yield client


def kept(settings: Settings, **scope: object) -> tuple[ApiKey, dict[str, str]]:
    key, text = issue("test", datetime.now(UTC), **scope)  # type: ignore[arg-type]
    KeyFile(settings.api_keys_file).add(key)
    return key, {"X-API-Key": text}


def sent(settings: Settings, kind: str, tables: tuple[str, ...], actions: tuple[Action, ...]) -> dict[str, str]:
    """What carries these rights: a key in either header, or a token with them as scopes."""
    if kind == "token":
        scopes = " ".join(f"{action}:{table}" for action in actions for table in tables)
        return {"Authorization": f"Bearer {token(RSA, scope=scopes)}"}
    _, headers = kept(settings, tables=tables, actions=actions, rate="unlimited")
    return headers if kind == "key" else {"Authorization": f"Bearer {headers['X-API-Key']}"}


def test_the_routes_above_are_all_that_show_data(anonymous: TestClient) -> None:
    app = anonymous.app
    assert isinstance(app, FastAPI)
    paths = {path for path in app.openapi()["paths"] if path.startswith("/v1")}
    known = {route.partition("?")[0].replace("/s1/", "/{sensor_id}/") for route, _, _ in routes()}
    unknown = {path for path in paths if "{identifier}" not in path} - known
    # a stream does not end: it has a test of its own
    assert unknown == {"/v1/tables", "/v1/quality", "/v1/quality/report"} | {f"/v1/{f}/stream" for f in FAMILIES}


@pytest.mark.parametrize("kind", ["key", "key as bearer", "token"])
@pytest.mark.parametrize(
    ("tables", "actions"),
    [
        (("*",), (Action.READ, Action.LIVE)),
        (("*",), (Action.READ,)),
        (("*",), (Action.LIVE,)),
        (("gold.*",), (Action.READ, Action.LIVE)),
        (("bronze.traffic_events", "silver.energy_5m"), (Action.READ, Action.LIVE)),
    ],
)
def test_a_key_or_token_may_what_it_is_for_and_nothing_else(
    anonymous: TestClient,
    own_settings: Settings,
    server: redis.Redis,
    *,
    kind: str,
    tables: tuple[str, ...],
    actions: tuple[Action],
) -> None:
    assert server.ping()
    headers = sent(own_settings, kind, tables, actions)
    visible = {
        table
        for table in TABLES
        if "*" in tables or table in tables or f"{table.split('.')[0]}.*" in tables
    }  # fmt: skip
    for route, action, table in routes():
        answer = anonymous.get(route, headers=headers)
        allowed = table in visible and (action is None or action in actions)
        assert (answer.status_code not in DENIED) == allowed, (route, answer.status_code, answer.text)
        if not allowed:
            assert answer.status_code == HTTPStatus.FORBIDDEN
            assert answer.headers["Content-Type"] == "application/problem+json"
            needed = f"{action or Action.READ}:{table}" if kind == "token" else f"--table {table}"
            assert needed in answer.json()["detail"]
            assert "insufficient_scope" in answer.headers["WWW-Authenticate"]
    for family in FAMILIES:
        if f"bronze.{family}_events" not in visible or Action.LIVE not in actions:
            assert anonymous.get(f"/v1/{family}/stream", headers=headers).status_code == HTTPStatus.FORBIDDEN
    listed = anonymous.get("/v1/tables", headers=headers).json()["tables"]
    assert {table["identifier"] for table in listed} == visible
    report = anonymous.get("/v1/quality/report", headers=headers).status_code
    assert (report == HTTPStatus.FORBIDDEN) == (visible != set(TABLES))


def test_a_key_that_is_revoked_or_has_expired_is_unknown(anonymous: TestClient, own_settings: Settings) -> None:
    now = datetime.now(UTC)
    key, headers = kept(own_settings)
    assert anonymous.get("/v1/tables", headers=headers).status_code == HTTPStatus.OK
    KeyFile(own_settings.api_keys_file).replace(key.id, lambda key: key.model_copy(update={"revoked_at": now}))
    assert anonymous.get("/v1/tables", headers=headers).status_code == HTTPStatus.UNAUTHORIZED
    _, old = kept(own_settings, expires_at=now - timedelta(seconds=1))
    assert anonymous.get("/v1/tables", headers=old).status_code == HTTPStatus.UNAUTHORIZED


def test_while_the_file_is_not_readable_the_key_of_the_installation_works(
    anonymous: TestClient, own_settings: Settings
) -> None:
    _, headers = kept(own_settings)
    content = own_settings.api_keys_file.read_bytes()
    own_settings.api_keys_file.write_bytes(content[:-20])
    try:
        answer = anonymous.get("/v1/tables", headers=headers)
        assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        assert answer.headers["Retry-After"]
        assert anonymous.get("/v1/tables", headers={"X-API-Key": KEY}).status_code == HTTPStatus.OK
    finally:
        own_settings.api_keys_file.write_bytes(content)
    assert anonymous.get("/v1/tables", headers=headers).status_code == HTTPStatus.OK


@pytest.mark.parametrize(
    "path", [path for path, _, _ in routes()] + ["/v1/tables", "/v1/quality", "/v1/quality/report"]
)
def test_a_token_that_is_not_good_is_answered_nothing(anonymous: TestClient, path: str) -> None:
    for bad in (token(STRANGER), token(RSA, exp=1), token(RSA, aud="other"), token(RSA)[:-8]):
        answer = anonymous.get(path, headers={"Authorization": f"Bearer {bad}"})
        assert answer.status_code == HTTPStatus.UNAUTHORIZED
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
