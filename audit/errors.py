"""Errors of the audit; each message says what to do next."""

from contracts import LakehouseError


class AuditError(LakehouseError):
    """The audit cannot be made."""


class ViolationError(AuditError):
    """The audit was made, and a table is not what was published, once."""


class RepairError(AuditError):
    """A repair cannot be made, or did not mend all."""
