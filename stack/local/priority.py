"""Who goes first when more wants to run than there are cores.

On a small machine a checkpoint (files closed, state flushed and compacted, uploads, a commit) takes all cores for
a second, and an event on its way to the hot view would wait in the same queue at each of its five hops. So what
nobody waits for within milliseconds gives way: services as a whole, and in the TaskManager, one process for all
tasks, the threads that write tables. Those still go before batch work: a task that falls behind holds back the
source that it shares with the hot view.
"""

import os
from contextlib import suppress
from pathlib import Path

TABLES = 5
"""Added to the nice value of what writes tables all the time, which gets a third of what others get (sched(7))."""

BACKGROUND = 10
"""That of batch work: a third of that again."""

LOWEST = 19

TABLE_THREADS = (
    "bronze_events[",
    "Deduplicate",
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


def giving_way(command: tuple[str, ...], nice: int) -> tuple[str, ...]:
    """The command that runs ``command``, and what it starts, at a lower priority in the same process."""
    return ("nice", "-n", str(nice), *command)


def lower_table_threads(pid: int) -> None:
    """Lower the threads of a TaskManager that write tables; where there is no such process, or no /proc, none."""
    with suppress(OSError):
        lower = min(os.getpriority(os.PRIO_PROCESS, pid) + TABLES, LOWEST)
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):  # it has ended since
                if (thread / "comm").read_text().startswith(TABLE_THREADS):
                    os.setpriority(os.PRIO_PROCESS, int(thread.name), lower)
