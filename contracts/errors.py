"""Errors that every package shares."""


class LakehouseError(Exception):
    """Base of the errors that a person can mend; the command line prints them as one line."""


class ContractError(LakehouseError, ValueError):
    """A contract is inconsistent, or a name is asked for that no contract declares."""
