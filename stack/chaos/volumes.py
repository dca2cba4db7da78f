"""A small disk under one folder of a stack, so that it can be filled without harm to anything else."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from stack.chaos.errors import ScenarioSkippedError

FILLER = "filler"
BLOCKS = (1 << 20, 1 << 12, 1)
"""Bytes that are written at a time, each size until it does not fit any more."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A disk of ``mebibytes`` in memory that a stack is to have at ``folder`` of its home."""

    folder: str
    mebibytes: int

    def mount(self, home: Path) -> "SmallDisk":
        """Mount it.

        Raises:
            ScenarioSkippedError: this machine does not let it be mounted.
        """
        if os.geteuid() != 0 or shutil.which("mount") is None:
            raise ScenarioSkippedError("needs root to mount a small disk")
        path = home / self.folder
        path.mkdir(parents=True)
        command: list[str | Path] = ["mount", "-t", "tmpfs", "-o", f"size={self.mebibytes}m", "tmpfs", path]
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
        if mounted.returncode:
            raise ScenarioSkippedError(
                f"this machine does not let a small disk be mounted: {mounted.stderr.strip()}"
            )
        return SmallDisk(path)


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A mounted small disk."""

    path: Path

    def fill(self) -> None:
        """Take all that is free."""
        with (self.path / FILLER).open("ab", buffering=0) as file:
            for size in BLOCKS:
                _write_while_it_fits(file.fileno(), bytes(size))

    def free(self) -> None:
        """Give back what :meth:`fill` has taken."""
        (self.path / FILLER).unlink(missing_ok=True)

    def unmount(self) -> None:
        """Unmount it, with all that is on it."""
        subprocess.run(["umount", self.path], check=True, capture_output=True)


def _write_while_it_fits(descriptor: int, block: bytes) -> None:
    try:
        while os.write(descriptor, block):
            pass
    except OSError:
        return
