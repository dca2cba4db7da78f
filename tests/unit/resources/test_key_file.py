"""Keys of the API: what is kept of them, how long they hold, and who else may change the file meanwhile."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from resources.api_keys import Action, ApiKeysError, KeyFile, KeyRing, issue

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "home" / "api-keys.json")


def test_the_file_holds_the_hash_and_never_the_key(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    key, text = issue("dashboard", NOW, tables=["gold.*"], actions=[Action.READ])
    KeyFile(path).add(key)
    (kept,) = json.loads(path.read_text())["keys"]
    assert kept["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert text not in path.read_text()
    assert text.split("_", 2)[2] not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_two_keys_are_alike() -> None:
    texts = {issue("same", NOW)[1] for _ in range(100)}
    assert len(texts) == 100
    assert min(len(text.split("_", 2)[2]) for text in texts) >= 43, "256 random bits"


def test_a_key_is_found_until_it_expires(file: KeyFile) -> None:
    key, text = issue("short", NOW, expires_at=NOW + timedelta(hours=1))
    file.add(key)
    ring = KeyRing(file)
    assert ring.find(text, NOW) == key
    assert ring.find(text, NOW + timedelta(minutes=59, seconds=59)) == key
    assert ring.find(text, NOW + timedelta(hours=1)) is None
    for other in ("", text[:-1], text + "x", key.sha256, key.id):
        assert ring.find(other, NOW) is None


def test_what_is_revoked_or_new_is_known_at_once(file: KeyFile) -> None:
    ring = KeyRing(file)
    first, first_text = issue("first", NOW)
    assert ring.find(first_text, NOW) is None
    file.add(first)
    assert ring.find(first_text, NOW) == first
    second, second_text = issue("second", NOW)
    file.add(second)
    file.replace(first.id, lambda key: key.model_copy(update={"revoked_at": NOW}))
    assert ring.find(first_text, NOW) is None
    assert ring.find(second_text, NOW) == second


@pytest.mark.parametrize(
    ("tables", "seen", "hidden"),
    [
        (("*",), "bronze.dead_letters", None),
        (("gold.*",), "gold.city_hourly", "silver.traffic_1m"),
        (("gold.city_hourly",), "gold.city_hourly", "gold.city_hourly_2"),
        (("silver.*", "gold.traffic_hourly"), "gold.traffic_hourly", "gold.energy_hourly"),
        # a pattern is for the whole name, and in its case
        (("gold",), "gold", "gold.city_hourly"),
        (("GOLD.*",), "GOLD.x", "gold.city_hourly"),
    ],
)
def test_a_key_is_for_the_tables_that_its_patterns_name(
    tables: tuple[str, ...], seen: str, hidden: str | None
) -> None:
    key, _ = issue("some", NOW, tables=tables, actions=[Action.READ])
    assert key.may(Action.READ, seen)
    assert not key.may(Action.LIVE, seen)
    assert hidden is None or not key.may_see(hidden)


def test_changes_at_the_same_time_lose_none(file: KeyFile) -> None:
    keys = [issue(f"key {number}", NOW)[0] for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(file.add, keys))
    assert {key.id for key in file.read()} == {key.id for key in keys}


def test_a_file_that_is_not_readable_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text('{"keys": [{"id": ')
    for use in (KeyFile(path).read, lambda: KeyRing(KeyFile(path)).find("lk_x_y", NOW)):
        with pytest.raises(ApiKeysError, match=str(path)):
            use()
    with pytest.raises(ApiKeysError):
        KeyFile(path).add(issue("lost", NOW)[0])
    assert path.read_text() == '{"keys": [{"id": ', "it is left for its owner to look at"


def test_a_key_that_is_not_there_is_an_error(file: KeyFile) -> None:
    with pytest.raises(ApiKeysError, match="no key 'abcd'"):
        file.replace("abcd", lambda key: key)
