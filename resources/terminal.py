"""Consoles for what a command tells people."""

import sys

from rich.console import Console

FILE_WIDTH = 220


def console(*, stderr: bool = True) -> Console:
    """A console on stderr, so that stdout stays clean for scripts, or on stdout for what was asked for.

    In a file or a pipe nothing is gained by folding tables to the width of an imagined terminal. Square brackets
    mean themselves: what is shown comes from sensors, too.
    """
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    width = None if terminal else FILE_WIDTH
    return Console(stderr=stderr, highlight=False, markup=False, soft_wrap=True, width=width)
