"""``./lakehouse test``: installs what only tests need, then runs the checks and the suites."""

import os
import subprocess
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from rich.console import Console

from settings.model import ROOT
from stack.toolchain.environments import add_development_packages, install_into
from stack.toolchain.jars import fetch_jars

STATIC_CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
)

NONE_SELECTED = 5
"""Exit code of pytest where its arguments select no test (``ExitCode.NO_TESTS_COLLECTED``)."""


class Suite(StrEnum):
    """Groups of tests, by what they need."""

    UNIT = "unit"
    INTEGRATION = "integration"
    E2E = "e2e"


def run_tests(
    suite: Suite | None, toolchain: Path, console: Console, *, full: bool, pytest_arguments: list[str]
) -> int:
    """Run one suite, or the static checks and all suites; returns the exit code of the first that fails.

    Where ``pytest_arguments`` say which tests, the static checks are left out.

    Args:
        suite: which tests; ``None`` for all.
        toolchain: folder of the environments.
        console: where to say what is going on.
        full: stream the whole of each data set of the end-to-end tests instead of a slice of the largest.
        pytest_arguments: handed on to pytest.
    """
    _ensure_development_packages(toolchain)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if suite is None and not pytest_arguments:
        for check in STATIC_CHECKS:
            console.print(f"$ {' '.join(check)}")
            command: list[str | Path] = [toolchain / "main" / "bin" / check[0], *check[1:]]
            if code := subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode:
                return code
    if suite is not Suite.UNIT:
        fetch_jars(toolchain, console)
    if suite in {None, Suite.E2E}:
        environment["LAKEHOUSE_TEST_DATA"] = str(_ensure_test_data(toolchain))
    environment["LAKEHOUSE_TEST_FULL"] = "1" if full else ""
    if suite is None and pytest_arguments and Path(pytest_arguments[0].partition("::")[0]).exists():
        return _pytest(pytest_arguments, environment)  # files or folders of tests are named
    # the quick ones first: what they find needs no wait for the stack
    codes = [_pytest([*_selection(each), *pytest_arguments], environment) for each in _rounds(suite)]
    return next((code for code in codes if code not in {0, NONE_SELECTED}), min(codes))


def _rounds(suite: Suite | None) -> list[tuple[Suite, ...]]:
    """Suites by the process that runs them: those of one need the same stack."""
    return [(suite,)] if suite else [(Suite.UNIT,), (Suite.INTEGRATION, Suite.E2E)]


def _selection(suites: tuple[Suite, ...]) -> list[str]:
    folders = [str(ROOT / "tests" / suite) for suite in suites]
    # a stack takes all cores by itself
    return [*folders, "--numprocesses=auto", "--dist=loadfile"] if suites == (Suite.UNIT,) else folders


def _pytest(arguments: list[str], environment: Mapping[str, str]) -> int:
    command = [sys.executable, "-m", "pytest", "-v", "--durations=25", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def _ensure_development_packages(toolchain: Path) -> None:
    lock, stamp = ROOT / "locks" / "dev.txt", toolchain / "dev.lock"
    if not _is_current(stamp, lock):
        add_development_packages(lock, toolchain)
        stamp.write_bytes(lock.read_bytes())


def _ensure_test_data(toolchain: Path) -> Path:
    lock, folder = ROOT / "locks" / "testdata.txt", toolchain / "testdata"
    stamp = toolchain / "testdata.lock"
    if not _is_current(stamp, lock):
        install_into(folder, lock, toolchain)
        stamp.write_bytes(lock.read_bytes())
    return folder


def _is_current(stamp: Path, lock: Path) -> bool:
    return stamp.exists() and stamp.read_bytes() == lock.read_bytes()
