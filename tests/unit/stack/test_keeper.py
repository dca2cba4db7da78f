"""What the keeper makes of its client's answers; the client and Flink themselves are in ``test_jobs.py``."""

from pathlib import Path

import pytest

import contracts
from settings import Settings
from stack.jobs import keeper
from stack.jobs.flink_rest import FlinkRest
from stack.jobs.keeper import MAX_BACKOFF_S, REFUSED_S, Refusals, submit_missing
from stack.jobs.state import load_state


def client_that_prints(toolchain: Path, text: str, code: int) -> None:
    """Put a client in the place of the real one."""
    script = toolchain / "streaming" / "bin" / "python"
    script.parent.mkdir(parents=True)
    script.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {code}\n")
    script.chmod(0o755)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a stack in which no job runs, and none has ended with a savepoint."""
    secrets = dict.fromkeys(
        ("s3_access_key", "s3_secret_key", "redis_password", "api_key"), "a-secret-of-the-test"
    )
    (tmp_path / "jobs").mkdir()
    monkeypatch.setattr(FlinkRest, "jobs", lambda _: [])
    monkeypatch.setattr(keeper, "newest_restore_point", lambda *_: None)
    monkeypatch.setattr(keeper, "refuse_rewind", lambda *_: None)
    return Settings(home=tmp_path, toolchain=tmp_path, _env_file=None, **secrets)


def test_each_job_has_its_own_outcome(settings: Settings) -> None:
    energy, traffic, weather = map(contracts.family, ("energy", "traffic", "weather"))
    lines = (
        "a line of the log",
        '{"family": "energy", "error": "no such savepoint"}',
        '{"family": "traffic", "job_id": "abc"}',
    )
    client_that_prints(settings.toolchain, "\n".join(lines), 1)

    refused = submit_missing(settings, (energy, traffic, weather))
    assert sorted(refused) == ["energy", "weather"]
    assert "energy was not submitted: no such savepoint" in str(refused["energy"])
    assert "weather was not submitted: the client that submits jobs has ended" in str(refused["weather"])
    assert [load_state(settings, name).job_id for name in ("energy", "traffic", "weather")] == [None, "abc", None]


def test_a_state_that_cannot_be_read_holds_up_no_other(settings: Settings) -> None:
    energy, traffic = map(contracts.family, ("energy", "traffic"))
    path = settings.home / "jobs" / "energy.json"
    path.write_bytes(b"not json \xff")
    client_that_prints(settings.toolchain, '{"family": "traffic", "job_id": "abc"}', 0)

    refused = submit_missing(settings, (energy, traffic))
    assert list(refused) == ["energy"]
    assert str(path) in str(refused["energy"])
    assert "jobs start energy --from" in str(refused["energy"])
    assert load_state(settings, "traffic").job_id == "abc"
    assert path.read_bytes() == b"not json \xff"


def test_a_family_waits_longer_after_each_refusal_in_a_row() -> None:
    refusals = Refusals()
    now, waits = 100.0, []
    for _ in range(6):
        assert refusals.is_due("energy", now)
        wait = refusals.count("energy", now, refused=True)
        assert wait is not None
        assert not refusals.is_due("energy", now + wait - 0.1)
        assert refusals.is_due("traffic", now)
        waits.append(wait)
        now += wait
    assert waits == [REFUSED_S, 2 * REFUSED_S, 4 * REFUSED_S, 8 * REFUSED_S, MAX_BACKOFF_S, MAX_BACKOFF_S]
    assert refusals.count("energy", now, refused=False) is None
    assert refusals.count("energy", now, refused=True) == REFUSED_S
