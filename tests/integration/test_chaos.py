"""The quick fault scenarios in a stack of their own: the proof of exactly-once, and that it can fail."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from stack.chaos.report import ChaosReport
from stack.chaos.run import run_chaos
from stack.chaos.scenarios import QUICK, SCENARIOS
from stack.cli import toolchain_folder
from stack.local.isolated import own_environment

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A short path: a Unix socket lies below it."""
    made = Path(tempfile.mkdtemp(prefix="lakehouse-chaos-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def report(folder: Path) -> ChaosReport:
    toolchain = toolchain_folder()
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in QUICK]
    # pytest hands over a stderr that it captures: the real one shows what a slow scenario is waiting for
    with Path("/dev/stderr").open("a") as stderr, own_environment(folder, toolchain):
        console = Console(file=stderr, highlight=False, soft_wrap=True)
        return run_chaos(folder, toolchain, scenarios, console, seed=7, quick=True)


@pytest.mark.parametrize("name", QUICK)
def test_no_acknowledged_event_is_lost_or_left_doubled(report: ChaosReport, name: str) -> None:
    result = report.scenarios[name]
    assert result.ok, result.detail
    assert result.missing == 0
    # the rows that are left after a repair, where there was one
    assert result.rows + result.dead_letters == result.acknowledged > 0
    assert result.dead_letters > 0
    assert result.duplicates > 0


def test_rows_double_without_the_guard_and_only_then(report: ChaosReport) -> None:
    """The scenario that holds a commit bites, so that its passing with the guard means something."""
    doubled = {name: result.doubled for name, result in report.scenarios.items()}
    assert doubled.pop("catalog-hold-unguarded") > 0
    assert set(doubled.values()) == {0}


def test_nothing_is_left_behind(report: ChaosReport, folder: Path) -> None:
    assert report.kept == []
    assert not folder.exists()
