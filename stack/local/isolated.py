"""Stacks beside the user's: a home and ports of their own, and nothing of the user's settings."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from rich.console import Console

from settings import Settings
from stack.local.lifecycle import await_ready
from stack.local.local_env import load_local_settings
from stack.local.processes import end_processes
from stack.local.services import store
from stack.local.supervisor import Supervisor

KEPT_VARIABLES = frozenset({"LAKEHOUSE_TOOLCHAIN", "LAKEHOUSE_JAVA_HOME"})


@contextmanager
def own_environment(home: Path, toolchain: Path) -> Iterator[None]:
    """Point this process at ``home`` and at nothing else: settings of the user's stack must not leak in."""
    before = dict(os.environ)
    for name in before:
        if name.startswith("LAKEHOUSE_") and name not in KEPT_VARIABLES:
            del os.environ[name]
    os.environ["LAKEHOUSE_HOME"] = str(home)
    os.environ["LAKEHOUSE_TOOLCHAIN"] = str(toolchain)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def new_home(folder: Path) -> Path:
    """Make an empty folder with a short name in ``folder``; no other process gets the same."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        with suppress(FileExistsError):
            home = folder / str(number)
            home.mkdir()
            return home
    raise AssertionError("numbers do not end")


@contextmanager
def store_alone(folder: Path, toolchain: Path, console: Console) -> Iterator[Settings]:
    """Run object store and catalog, and nothing else, in a new home below ``folder``; nothing is left of it.

    Raises:
        StackError: the store does not start.
    """
    home = new_home(folder)
    try:
        with own_environment(home, toolchain):
            settings = load_local_settings(home, choose_ports=True)
            supervisor = Supervisor(settings)
            service = store.service(settings)
            store.prepare(settings)
            supervisor.start([service])
            try:
                supervisor.start_service(service.name)
                await_ready(service, supervisor, console)
                yield settings
            finally:
                supervisor.stop_service(service.name)
                supervisor.shut_down()
                end_processes(settings.home)
    finally:
        shutil.rmtree(home, ignore_errors=True)
        with suppress(OSError):  # another one runs in it
            folder.rmdir()
