"""Memory of the API's worker, as glibc itself tells of it."""

import platform
import subprocess
import sys

import pytest

from settings.model import ROOT

THREADS = 6

ALLOCATING = f"""
import ctypes, sys, threading
if sys.argv[1] == "shared":
    from api.memory import share_arenas
    share_arenas()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
all_have = threading.Barrier({THREADS})
def allocate():
    all_have.wait()
    assert libc.malloc(1000)
    all_have.wait()
threads = [threading.Thread(target=allocate) for _ in range({THREADS})]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has arenas")
def test_threads_of_a_worker_share_two_arenas() -> None:
    assert arenas("apart") > 2
    assert arenas("shared") == 2


def arenas(mode: str) -> int:
    command = [sys.executable, "-c", ALLOCATING, mode]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    return shown.count("<heap nr=")
