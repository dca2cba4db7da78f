"""Errors of the command line; each message says what to do next."""


class StackError(RuntimeError):
    """Something about this machine or the local stack keeps a command from working."""
