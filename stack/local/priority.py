"""Who goes first when more wants to run than there are cores.

On a small machine a checkpoint (files closed, state flushed and compacted, uploads, a commit) takes all cores for
a second, and an event on its way to the hot view would wait in the same queue at each of its five hops. So what
nobody waits for within milliseconds runs at a lower priority: services as a whole, and in the TaskManager, one
process for all tasks, every thread but those on the way of an event.
"""

import os
from contextlib import suppress
from pathlib import Path

import psutil

BACKGROUND = 10
"""Nice value; one of 10 gets about a tenth of what one of 0 gets (sched(7))."""

HOT_THREADS = (
    "Source: ",
    "Source Data Fet",
    "kafka-producer-",
    "OutputFlusher",
    "C1 CompilerThre",
    "C2 CompilerThre",
    "GC Thread",
    "G1 ",
    "VM Thread",
    "VM Periodic",
)
"""What the names of those threads begin with: the tasks that read the topics and write the hot topics, what they
read and write with, what stops all others while it works, and the compilers, without which all is slow for minutes
after a start. The kernel keeps fifteen characters of a name."""


def in_background(command: tuple[str, ...]) -> tuple[str, ...]:
    """The command that runs ``command``, and what it starts, at the lower priority in the same process."""
    return ("nice", "-n", str(BACKGROUND), *command)


class TaskThreads:
    """Lowers the threads of a TaskManager that are on no event's way, those that are new at each :meth:`lower`."""

    def __init__(self) -> None:
        self._process: psutil.Process | None = None
        self._new: set[int] = set()
        self._done: set[int] = set()

    def lower(self, process: psutil.Process) -> int:
        """Lower the threads that were new at the last call; returns how many. Nothing where there is no /proc.

        Not at once: a thread has the name of the one that started it until it gets its own, and who has given up
        priority does not get it back.
        """
        if process != self._process:
            self._process, self._new, self._done = process, set(), set()
        threads = _threads(process.pid)
        lowered = [thread for thread in threads & self._new if _lower(process.pid, thread)]
        self._done = (self._done | self._new) & threads
        self._new = threads - self._done
        return len(lowered)


def _lower(pid: int, thread: int) -> bool:
    with suppress(OSError):  # it may have ended since
        if not Path(f"/proc/{pid}/task/{thread}/comm").read_text().startswith(HOT_THREADS):
            os.setpriority(os.PRIO_PROCESS, thread, BACKGROUND)
            return True
    return False


def _threads(pid: int) -> set[int]:
    try:
        return {int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()}
    except OSError:
        return set()
