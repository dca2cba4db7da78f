"""Who goes first when more wants to run than there are cores.

On a small machine a checkpoint (files closed, state flushed and compacted, uploads, a commit) takes all cores for
a second, and an event on its way to the hot view would wait in the same queue at each of its five hops. So what
nobody waits for within milliseconds gives way: services as a whole, and in the TaskManager, one process for all
tasks, the threads that write tables. Those still go before batch work: a task that falls behind holds back the
source that it shares with the hot view. In the broker it is the thread that compacts topics.
"""

import os
from contextlib import suppress
from pathlib import Path

TABLES = 15
"""Added to the nice value of what writes tables all the time: a thread has a thirtieth of the weight of others.

A dozen such threads want to run at the same time. With a third each they had more than all others together, and a
hop of the hot path that had fallen behind did not get the core that it needed to catch up."""

BACKGROUND = 18
"""That of batch work: half of that again."""

BACKGROUND_SESSION = 10
"""Nice value of a session of batch work: a tenth of the weight of all other services together, so that it goes on
where those want all there is."""

LOWEST = 19

TABLE_THREADS = (
    "bronze_events[",
    "Deduplicate",
    "WindowAggregate",
    "GlobalWindowAgg",
    "GroupAggregate[",
    "AsyncOperations",
    "Flink-RocksDBSt",
    "rocksdb:high",
    "iceberg-worker-",
    "s3a-",
    "java-sdk-",
    "Sweeper thread",
)
"""What the names of those threads begin with: every task but the sources, which write the hot topics too, and what
works for them. The kernel keeps fifteen characters of a name. Others are left alone, those that start tasks above
all: a thread has the priority of the one that started it, and who has given it up does not get it back."""

MERGING_THREADS = ("rocksdb:low", "kafka-log-clean")
"""Of RocksDB, and of the broker for compacted topics: what they merge is in files already, and nothing waits for
it but where it falls far behind. Compacting ten minutes of the hot topics takes a core for as long as it takes."""


def giving_way(command: tuple[str, ...], nice: int) -> tuple[str, ...]:
    """The command that runs ``command``, and what it starts, at a lower priority in the same process."""
    return ("nice", "-n", str(nice), *command)


def lower_threads(pid: int) -> None:
    """Lower the threads of a TaskManager that write tables, and those of a TaskManager or broker that merge files.

    Where there is no such process, or no /proc, that is none.
    """
    with suppress(OSError):
        whole = os.getpriority(os.PRIO_PROCESS, pid)
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):  # it has ended since
                if added := _given_up((thread / "comm").read_text()):
                    os.setpriority(os.PRIO_PROCESS, int(thread.name), min(whole + added, LOWEST))


def _given_up(thread_name: str) -> int:
    if thread_name.startswith(MERGING_THREADS):
        return BACKGROUND
    return TABLES if thread_name.startswith(TABLE_THREADS) else 0
