"""Who gives way: the threads of a process by their names, and a command as a whole."""

import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from stack.local.priority import BACKGROUND, TABLES, giving_way, lower_threads

PR_SET_NAME = 15
pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="threads have priorities of their own on Linux alone"
)


@contextmanager
def named_threads(*names: str) -> Iterator[dict[str, int]]:
    """Threads of this process with these names for the kernel, and their ids."""
    found: dict[str, int] = {}
    ready, done = threading.Barrier(len(names) + 1), threading.Event()

    def run(name: str) -> None:
        ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode())
        found[name] = threading.get_native_id()
        ready.wait()
        done.wait()

    threads = [threading.Thread(target=run, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    ready.wait()
    try:
        yield found
    finally:
        done.set()
        for thread in threads:
            thread.join()


@pytest.fixture
def child() -> Iterator[psutil.Process]:
    """A process whose threads are these: some on the way of an event, some not."""
    code = f"""import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_priority import named_threads
stay = "Source: sensor_", "kafka-producer-", "C2 CompilerThre"
with named_threads(*stay, "WindowAggregate", "rocksdb:low", "kafka-log-clean"):
    print("ready", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        yield psutil.Process(process.pid)
        process.stdin.close()


def nice_by_name(process: psutil.Process) -> dict[str, int]:
    found = {}
    for thread in process.threads():
        name = Path(f"/proc/{process.pid}/task/{thread.id}/comm").read_text().strip()
        found[name] = os.getpriority(os.PRIO_PROCESS, thread.id)
    return found


def test_threads_that_write_tables_give_way_and_no_others(child: psutil.Process) -> None:
    before = nice_by_name(child)
    lower_threads(child.pid)
    after = nice_by_name(child)
    assert {name for name in after if after[name] != before[name]} == {
        "WindowAggregate",
        "rocksdb:low",
        "kafka-log-clean",
    }
    assert after["WindowAggregate"] == min(os.nice(0) + TABLES, 19)
    assert after["rocksdb:low"] == after["kafka-log-clean"] == min(os.nice(0) + BACKGROUND, 19)


def test_a_process_that_has_ended_is_none() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    lower_threads(process.pid)


def test_a_command_in_the_background_passes_that_on() -> None:
    command = giving_way((sys.executable, "-c", "import os; print(os.nice(0), os.getppid())"), BACKGROUND)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        nice, parent = (process.communicate()[0]).split()
    assert int(nice) == min(os.nice(0) + BACKGROUND, 19)
    assert int(parent) == os.getpid(), "it is the process that was started"
