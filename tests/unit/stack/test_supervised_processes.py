"""What runs for a home folder, also where the folder is gone: real processes under a real supervisor."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from settings import Settings
from stack.cli import toolchain_folder
from stack.local.processes import SUPERVISOR, end_processes, mark, processes_of
from stack.local.service import Service, Stage
from stack.local.supervisor import Supervisor

SLEEPER = Service(
    name="sleeper",
    stage=Stage.APPLICATION,
    command=(sys.executable, "-c", "import time; time.sleep(300)"),
    address="",
    is_ready=lambda: True,
)


@pytest.fixture
def supervised(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a home whose supervisor runs one service."""
    home = tmp_path_factory.mktemp("home")
    secrets = dict.fromkeys(
        ("s3_access_key", "s3_secret_key", "redis_password", "api_key"), "a-secret-of-the-test"
    )
    settings = Settings(home=home, toolchain=toolchain_folder(), _env_file=None, **secrets)
    supervisor = Supervisor(settings)
    try:
        supervisor.start([SLEEPER])
        supervisor.start_service(SLEEPER.name)
        yield settings
    finally:
        end_processes(home)


def test_all_that_runs_for_a_home_is_found_and_nothing_else(supervised: Settings, tmp_path: Path) -> None:
    service = Supervisor(supervised).pid(SLEEPER.name)
    (supervisor,) = processes_of(supervised.home, SUPERVISOR)
    with subprocess.Popen(SLEEPER.command, env=mark(tmp_path, SLEEPER.name)) as of_another:
        try:
            assert {process.pid for process in processes_of(supervised.home)} == {service, supervisor.pid}
        finally:
            of_another.kill()


def test_a_supervisor_whose_folder_was_removed_ends_with_what_it_started(supervised: Settings) -> None:
    shutil.rmtree(supervised.home)
    assert not Supervisor(supervised).is_running()
    before = processes_of(supervised.home)
    assert end_processes(supervised.home) == len(before) == 2
    assert not any(process.is_running() for process in before)
    assert processes_of(supervised.home) == []


def test_what_a_killed_supervisor_started_ends(supervised: Settings) -> None:
    (supervisor,) = processes_of(supervised.home, SUPERVISOR)
    supervisor.kill()
    supervisor.wait(20)
    assert end_processes(supervised.home) == 1
    assert processes_of(supervised.home) == []
