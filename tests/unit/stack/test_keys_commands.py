"""The commands on keys: what each prints, and what the file then holds."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from click.testing import Result
from typer.testing import CliRunner

import stack.keys
from resources.api_keys import Action, KeyFile, KeyRing
from stack.errors import StackError
from stack.keys import app


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeyFile:
    path = tmp_path / "api-keys.json"
    monkeypatch.setattr(stack.keys, "load_settings", lambda: SimpleNamespace(api_keys_file=path))
    return KeyFile(path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def answer(*arguments: str) -> dict[str, Any]:
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = orjson.loads(done.stdout.splitlines()[-1])
    return found


def test_a_key_is_shown_once_and_works(file: KeyFile) -> None:
    made = answer("create", "dashboard", "--table", "gold.*", "--action", "read", "--days", "2")
    now = datetime.now(UTC)
    key = KeyRing(file).find(made["key"], now)
    assert key is not None
    assert (key.name, key.tables, key.actions) == ("dashboard", ("gold.*",), (Action.READ,))
    assert KeyRing(file).find(made["key"], now + timedelta(days=2)) is None
    shown = run("list").stdout
    assert key.id in shown
    assert made["key"] not in shown
    assert made["key"].split("_", 2)[2] not in run("list", "--json").stdout


def test_without_options_a_key_may_everything_for_ninety_days(file: KeyFile) -> None:
    plain = run("create", "all").stdout.splitlines()
    key = KeyRing(file).find(plain[0], datetime.now(UTC))
    assert key is not None
    assert key.tables == ("*",)
    assert set(key.actions) == set(Action)
    assert key.expires_at == key.created_at + timedelta(days=90)


def test_a_key_has_the_rate_that_it_is_given_and_keeps_it(file: KeyFile) -> None:
    made = answer("create", "busy", "--rate", "600/minute")
    assert made["rate"] == "600/minute"
    assert answer("rotate", made["id"])["rate"] == "600/minute"
    assert "600/minute" in run("list").stdout
    assert answer("create", "usual")["rate"] is None
    assert answer("create", "machine", "--rate", "unlimited")["rate"] == "unlimited"


@pytest.mark.parametrize("rate", ["600", "0/minute", "-1/minute", "600/fortnight", "1.5/second", "", "x"])
def test_a_rate_that_is_none_is_refused(file: KeyFile, rate: str) -> None:
    done = run("create", "typing error", "--rate", rate)
    assert isinstance(done.exception, StackError)
    assert "600/minute" in str(done.exception)
    assert file.read() == []


def test_a_key_for_ever_does_not_expire(file: KeyFile) -> None:
    made = answer("create", "machine", "--days", "0")
    assert made["expires_at"] is None
    assert KeyRing(file).find(made["key"], datetime.now(UTC) + timedelta(days=36_500)) is not None


def test_a_table_that_is_not_served_is_refused(file: KeyFile) -> None:
    done = run("create", "typing error", "--table", "gold.city_hourli")
    assert isinstance(done.exception, StackError)
    assert "gold.city_hourly" in str(done.exception)
    assert file.read() == []


def test_a_revoked_key_is_not_valid(file: KeyFile) -> None:
    made = answer("create", "lost")
    assert run("revoke", made["id"]).exit_code == 0
    assert KeyRing(file).find(made["key"], datetime.now(UTC)) is None
    assert [key["valid"] for key in answer("list")["keys"]] == [False]
    assert isinstance(run("rotate", made["id"]).exception, StackError)


def test_of_a_rotated_key_both_hold_for_a_while(file: KeyFile) -> None:
    old = answer("create", "service", "--table", "silver.*", "--days", "30")
    new = answer("rotate", old["id"], "--overlap-hours", "1")
    assert (new["name"], new["tables"], new["actions"]) == (old["name"], old["tables"], old["actions"])
    ring, now = KeyRing(file), datetime.now(UTC)
    assert ring.find(old["key"], now)
    assert ring.find(old["key"], now + timedelta(hours=1)) is None
    assert ring.find(new["key"], now + timedelta(days=29, hours=23))
    assert ring.find(new["key"], now + timedelta(days=31)) is None


def test_a_rotation_does_not_make_a_key_live_longer(file: KeyFile) -> None:
    old = answer("create", "brief", "--days", "1")
    answer("rotate", old["id"], "--overlap-hours", "48")
    assert KeyRing(file).find(old["key"], datetime.now(UTC) + timedelta(hours=25)) is None
