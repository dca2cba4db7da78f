"""Who goes first when more wants to run than there are cores.

On a small machine a checkpoint (files closed, state flushed and compacted, uploads, a commit) takes all cores for
a second, and an event on its way to the hot view would wait in the same queue at each of its five hops. So what
nobody waits for within milliseconds runs at a lower priority: services as a whole, and in the TaskManager, one
process for all tasks, the threads that write tables.
"""

import os
from contextlib import suppress
from pathlib import Path

BACKGROUND = 10
"""Nice value; one of 10 gets about a tenth of what one of 0 gets (sched(7))."""

TABLE_THREADS = (
    "bronze_events[",
    "Deduplicate[",
    "WindowAggregate",
    "GlobalWindowAgg",
    "GroupAggregate[",
    "AsyncOperations",
    "Flink-RocksDBSt",
    "rocksdb:",
    "iceberg-worker-",
    "s3a-",
    "java-sdk-",
    "Sweeper thread",
)
"""What the names of those threads begin with: every task but the sources, which write the hot topics too, and what
works for them. The kernel keeps fifteen characters of a name. Others are left alone, those that start tasks above
all: a thread has the priority of the one that started it, and who has given it up does not get it back."""


def in_background(command: tuple[str, ...]) -> tuple[str, ...]:
    """The command that runs ``command``, and what it starts, at the lower priority in the same process."""
    return ("nice", "-n", str(BACKGROUND), *command)


def lower_table_threads(pid: int) -> None:
    """Lower the threads of a TaskManager that write tables; where there is no such process, or no /proc, none."""
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):  # it has ended since
                if (thread / "comm").read_text().startswith(TABLE_THREADS):
                    os.setpriority(os.PRIO_PROCESS, int(thread.name), BACKGROUND)
