"""Errors of the contracts."""


class ContractError(ValueError):
    """A contract is inconsistent, or a name is asked for that no contract declares."""
