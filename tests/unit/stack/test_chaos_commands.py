"""The command line of the fault scenarios, and what a run must not touch."""

import os
from pathlib import Path

import orjson
import pytest
import typer
from typer.testing import CliRunner

from contracts import LakehouseError, family
from stack.chaos.commands import chaos
from stack.chaos.errors import ScenarioError
from stack.chaos.patience import until
from stack.chaos.report import ChaosReport, ScenarioResult
from stack.chaos.scenarios import QUICK, SCENARIOS
from stack.local.isolated import own_environment

app = typer.Typer()
app.command()(chaos)

NAMES = [
    "control", "taskmanager-kill", "commit-kill", "jobmanager-kill", "taskmanager-freeze", "broker-kill",
    "broker-pause", "guard-kill", "catalog-drop-answer", "catalog-delay-answer", "catalog-503",
    "catalog-503-retry-after", "catalog-hold", "catalog-hold-unguarded", "store-kill", "s3-faults",
    "broker-disk-full", "store-disk-full", "loader-kill", "redis-kill", "clock-jump", "compaction-during-ingest",
    "down-up",
]  # fmt: skip


def test_the_names_are_stable_and_the_control_comes_first() -> None:
    names = [scenario.name for scenario in SCENARIOS]
    assert names == sorted(NAMES, key=names.index)
    assert sorted(names) == sorted(NAMES)
    assert names[0] == QUICK[0] == "control"
    assert set(QUICK) <= set(names)


def test_scenarios_name_families_that_exist() -> None:
    for scenario in SCENARIOS:
        assert [family(name).name for name in scenario.families] == list(scenario.families)


def test_a_family_is_either_live_or_history() -> None:
    """History after live events would all be late."""
    live = {name for scenario in SCENARIOS if scenario.live for name in scenario.families}
    history = {name for scenario in SCENARIOS if not scenario.live for name in scenario.families}
    assert live.isdisjoint(history)


def test_list() -> None:
    listed = CliRunner().invoke(app, ["--list", "--json"])
    assert listed.exit_code == 0, listed.output
    assert list(orjson.loads(listed.stdout)) == [scenario.name for scenario in SCENARIOS]


def test_an_unknown_scenario_is_refused_with_the_known_ones() -> None:
    refused = CliRunner().invoke(app, ["earthquake"])
    assert isinstance(refused.exception, LakehouseError)
    assert "catalog-hold-unguarded" in str(refused.exception)


def test_no_setting_of_another_stack_leaks_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS", "production:9092")
    monkeypatch.setenv("LAKEHOUSE_HOME", "/elsewhere")
    monkeypatch.setenv("LAKEHOUSE_JAVA_HOME", "/java")
    before = dict(os.environ)
    with own_environment(tmp_path, tmp_path / "tools"):
        left = {name: value for name, value in os.environ.items() if name.startswith("LAKEHOUSE_")}
        assert left == {
            "LAKEHOUSE_HOME": str(tmp_path),
            "LAKEHOUSE_TOOLCHAIN": str(tmp_path / "tools"),
            "LAKEHOUSE_JAVA_HOME": "/java",
        }
    assert dict(os.environ) == before


def test_a_report_is_ok_when_every_scenario_is() -> None:
    report = ChaosReport(seed=1, scenarios={"control": ScenarioResult(ok=True)})
    assert orjson.loads(report.model_dump_json())["ok"] is True
    report.scenarios["store-kill"] = ScenarioResult(ok=False)
    assert orjson.loads(report.model_dump_json())["ok"] is False


def test_patience_ends_with_what_was_waited_for() -> None:
    looks = []
    until(lambda: len(looks) == 3 or looks.append(1) is not None, "three looks", patience_s=5, poll_s=0)
    assert len(looks) == 3
    with pytest.raises(ScenarioError, match="not within 0 s: the moon"):
        until(lambda: False, "the moon", patience_s=0, poll_s=0)
