"""Ends a process with all that it has started."""

import subprocess

import psutil

PATIENCE_S = 60


def kill_tree(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process and its descendants, of whatever process group they are."""
    try:
        tree = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    except psutil.NoSuchProcess:
        tree = []
    for member in tree:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait(timeout=PATIENCE_S)
    psutil.wait_procs(tree, timeout=PATIENCE_S)
