"""CPU time of processes, against what they say themselves."""

import subprocess
import sys

from benchmarks.processes import cpu_of_tree

BURNT_S = 0.3

PARENT = f"""
import subprocess, sys
child = "import time\\nwhile time.process_time() < {BURNT_S}: pass"
subprocess.run([sys.executable, "-c", child], check=True)
print("ended", flush=True)
sys.stdin.read()
"""


def test_cpu_of_children_that_have_ended_counts() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ended\n"
        assert cpu_of_tree(parent.pid) >= BURNT_S
        parent.stdin.close()


def test_a_process_that_is_gone_has_used_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
        assert cpu_of_tree(gone.pid) == 0.0
