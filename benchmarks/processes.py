"""CPU time of the services of a running stack."""

import psutil

from settings import Settings
from stack.local.supervisor import Supervisor


def cpu_seconds(settings: Settings) -> dict[str, float]:
    """CPU time that each service has used, with its child processes, in seconds."""
    processes = Supervisor(settings).processes()
    return {info["name"]: cpu_of_tree(info["pid"]) for info in processes if info["pid"]}


def used(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """CPU time used between two looks; a service that restarted in between counts from its start."""
    return {
        name: round(total - before.get(name, 0.0) if total >= before.get(name, 0.0) else total, 2)
        for name, total in after.items()
    }


def cpu_of_tree(pid: int) -> float:
    """CPU time that a process and its children have used, those that have ended too, in seconds."""
    total = 0.0
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            total += sum(process.cpu_times()[:4])
    except psutil.NoSuchProcess:
        return total
    return total
