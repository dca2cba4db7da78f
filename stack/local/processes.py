"""The processes of a home folder, which are known by their environment, whoever started them and when."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

SERVICE_MARK = "LAKEHOUSE_SERVICE"
"""Environment variable that marks every process of a stack, so that none is lost and no other is touched."""
SUPERVISOR = "supervisor"
"""Its value in the process that starts the others."""
END_WITHIN_S = 15.0


def mark(home: Path, service: str) -> dict[str, str]:
    """Environment of a process of the stack in ``home``."""
    return {SERVICE_MARK: service, "LAKEHOUSE_HOME": str(home)}


def processes_of(home: Path, service: str | None = None) -> list[psutil.Process]:
    """All that run for the stack in ``home``, or for one service of it; the folder itself may be gone."""
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        marked = environment.get(SERVICE_MARK)
        if marked and service in {None, marked} and environment.get("LAKEHOUSE_HOME") == str(home):
            found.append(process)
    return found


def end_processes(home: Path) -> int:
    """End all that runs for the stack in ``home``; returns how many processes that were."""
    supervisors = processes_of(home, SUPERVISOR)
    # before the others, and at once: it would start them again
    _send(psutil.Process.kill, supervisors)
    others = processes_of(home)
    alive = _send(psutil.Process.terminate, others)
    _send(psutil.Process.kill, alive)
    return len(supervisors) + len(others)


def _send(signal: Callable[[psutil.Process], None], processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Send each a signal, and return those that do not end of it."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # ended since the look
            signal(process)
    _, alive = psutil.wait_procs(processes, timeout=END_WITHIN_S)
    return alive
