"""One running stack for the whole test session: real processes, free ports, a home folder of its own."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from automation import stop_automation
from rich.console import Console

from settings import Settings
from settings.model import ROOT
from stack.cli import toolchain_folder

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# either would be an assertion about how busy the machine is
hypothesis.settings.register_profile(
    "busy machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy machine")


@pytest.fixture(scope="session")
def stack_home() -> Iterator[Path]:
    """A home folder with a short path (a Unix socket lives in it), removed afterwards."""
    toolchain = toolchain_folder()
    home = Path(tempfile.mkdtemp(prefix="lakehouse-test-"))
    before = {name: os.environ.get(name) for name in ("LAKEHOUSE_HOME", "LAKEHOUSE_TOOLCHAIN")}
    os.environ["LAKEHOUSE_HOME"] = str(home)
    os.environ["LAKEHOUSE_TOOLCHAIN"] = str(toolchain)
    yield home
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def settings(stack_home: Path) -> Iterator[Settings]:
    """Settings of a stack that runs for the whole session."""
    from stack.local import lifecycle
    from stack.local.processes import processes_of
    from stack.toolchain.java import find_java

    # pytest hands over a stderr that it captures: the real one shows what a slow start is waiting for
    with Path("/dev/stderr").open("a") as stderr, pytest.MonkeyPatch.context() as patch:
        console = Console(file=stderr, highlight=False, soft_wrap=True)
        # Spark in the process of a test finds its JVM by this
        patch.setenv("JAVA_HOME", str(find_java(toolchain_folder(), None, console)))
        started = lifecycle.up(stack_home, toolchain_folder(), console, choose_ports=True)
        try:
            stop_automation(started)
            yield started
        finally:
            lifecycle.down(started, console)
            left = [process.pid for process in processes_of(started.home)]
    assert not left, f"down left processes behind: {left}"


@pytest.fixture(scope="session")
def session(settings: Settings) -> "SparkSession":
    """A Spark session in the process of the tests, which ends with it."""
    from resources.spark import open_session

    return open_session(settings)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT
