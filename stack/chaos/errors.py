"""Errors of fault scenarios."""

from stack.errors import StackError


class ScenarioError(StackError):
    """A scenario could not be carried out, or the stack did not recover from it."""


class ScenarioSkippedError(StackError):
    """A scenario cannot be carried out on this machine; the message says why."""
