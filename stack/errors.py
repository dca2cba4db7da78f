"""Errors of the command line; each message says what to do next."""

from contracts import LakehouseError


class StackError(LakehouseError):
    """Something about this machine or the local stack keeps a command from working."""
