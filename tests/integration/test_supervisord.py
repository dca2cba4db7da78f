"""Services under supervisord: each leads a process group, those in the background a session that gives way."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from waiting import until

from settings.model import ROOT
from stack.local.priority import BACKGROUND_SESSION
from stack.local.supervisord import AUTOGROUP, SESSION_NICE

PROGRAM = """
[program:{name}]
command = {python} -c "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
environment = {environment}
stdout_logfile = {folder}/{name}
"""


@pytest.fixture
def services(tmp_path: Path) -> Iterator[dict[str, psutil.Process]]:
    """A service in the background and another one."""
    programs = [
        PROGRAM.format(name=name, python=sys.executable, folder=tmp_path, environment=environment)
        for name, environment in {"batch": f'{SESSION_NICE}="{BACKGROUND_SESSION}"', "other": 'A="1"'}.items()
    ]
    configuration = tmp_path / "supervisord.conf"
    options = f"[supervisord]\nnodaemon = true\nlogfile = {tmp_path}/log\npidfile = {tmp_path}/pid\n"
    configuration.write_text(options + "".join(programs))
    command = [sys.executable, "-m", "stack.local.supervisord", "-c", configuration]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as supervisor:
        try:
            logs = {name: tmp_path / name for name in ("batch", "other")}
            until(lambda: all(log.exists() and log.read_text() for log in logs.values()), "both have started")
            yield {name: psutil.Process(int(log.read_text())) for name, log in logs.items()}
        finally:
            supervisor.send_signal(signal.SIGTERM)


def test_a_service_in_the_background_has_a_session_of_its_own(
    services: dict[str, psutil.Process],
) -> None:
    batch, other = services["batch"].pid, services["other"].pid
    assert os.getsid(batch) == batch
    assert os.getsid(other) == os.getsid(0)
    assert (os.getpgid(batch), os.getpgid(other)) == (batch, other), "each can be stopped with its children"


@pytest.mark.skipif(not AUTOGROUP.exists(), reason="this kernel has no autogroups")
def test_the_session_in_the_background_gives_way(services: dict[str, psutil.Process]) -> None:
    given = {name: Path(f"/proc/{process.pid}/autogroup").read_text() for name, process in services.items()}
    assert given["batch"].endswith(f" nice {BACKGROUND_SESSION}\n")
    assert not given["other"].endswith(f" nice {BACKGROUND_SESSION}\n")


def test_both_end_with_supervisord(services: dict[str, psutil.Process]) -> None:
    parent = services["batch"].parent()
    assert parent is not None
    parent.terminate()
    gone, alive = psutil.wait_procs([*services.values(), parent], timeout=30)
    assert (len(gone), alive) == (3, [])
