"""Installs pinned Python packages beside the two environments that the entry point makes."""

import shutil
import subprocess
from pathlib import Path

from stack.errors import StackError

INSTALL = ("pip", "install", "--compile-bytecode", "--require-hashes")
"""Compiled once: where Python is told to write no bytecode, every process would compile all that it imports."""


def uv_command(toolchain: Path) -> str:
    """Path of ``uv``: the one on PATH, else the one that the entry point installed."""
    installed = toolchain / "uv" / "bin" / "uv"
    found = shutil.which("uv") or (str(installed) if installed.exists() else None)
    if found is None:
        raise StackError("uv is not installed: delete the toolchain folder and start ./lakehouse again")
    return found


def install_into(folder: Path, lock: Path, toolchain: Path) -> None:
    """Install what ``lock`` pins, without dependencies, into ``folder`` as a plain directory.

    Raises:
        StackError: a package cannot be installed.
    """
    _run([*INSTALL, "--no-deps", "--target", folder, "-r", lock], toolchain, lock)


def add_development_packages(lock: Path, toolchain: Path) -> None:
    """Add the packages that only tests need to the main environment.

    Raises:
        StackError: a package cannot be installed.
    """
    python = toolchain / "main" / "bin" / "python"
    _run([*INSTALL, "--python", python, "-r", lock], toolchain, lock)


def make_environment(folder: Path, lock: Path, toolchain: Path) -> None:
    """Make ``folder`` an environment of its own with what ``lock`` pins, in place of one that is there.

    Raises:
        StackError: a package cannot be installed.
    """
    _run(["venv", "--quiet", "--clear", folder], toolchain, lock)
    python = folder / "bin" / "python"
    _run([*INSTALL, "--quiet", "--no-deps", "--python", python, "-r", lock], toolchain, lock)


def _run(arguments: list[str | Path], toolchain: Path, lock: Path) -> None:
    # the interpreter that installs only decides which wheels fit
    interpreter = [] if "--python" in arguments else ["--python", str(toolchain / "main" / "bin" / "python")]
    result = subprocess.run([uv_command(toolchain), *arguments, *interpreter], check=False)
    if result.returncode:
        raise StackError(f"could not install {lock.name}: the message above says why; start again to resume")
