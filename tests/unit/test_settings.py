"""What the settings say of an environment that does not suffice."""

import os
from pathlib import Path

import pytest

from settings import SettingsError, load_settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without a stack, and an environment without settings."""
    for name in os.environ:
        if name.startswith("LAKEHOUSE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    return tmp_path


def test_what_is_missing_comes_with_the_command_that_generates_it(home: Path) -> None:
    with pytest.raises(SettingsError, match=r"`./lakehouse up` generates.*LAKEHOUSE_API_KEY: Field required"):
        load_settings()


def test_what_is_wrong_is_not_said_to_be_missing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError) as missing:
        load_settings()
    lines = [part.partition(":")[0] for part in str(missing.value).partition(": ")[2].split("; ")]
    (home / "local.env").write_text("".join(f"{name}=a-value-of-the-test\n" for name in lines))
    load_settings()
    monkeypatch.setenv("LAKEHOUSE_SPARK_MASTER", "yarn")
    with pytest.raises(SettingsError, match=r"correct or unset them.*LAKEHOUSE_SPARK_MASTER: ") as error:
        load_settings()
    assert "generates" not in str(error.value)
