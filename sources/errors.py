"""Errors of the sources; each message is one line that a user can act on."""

from contracts import LakehouseError


class SourceError(LakehouseError):
    """A source cannot do what was asked."""


class OptionError(SourceError):
    """An option has a value that makes no sense."""


class MappingError(SourceError):
    """A mapping file is wrong; the message names the file and the key in it."""


class InputFileError(SourceError):
    """An input file cannot be used; the message names the file, and the row and column where there is one."""


class DeliveryError(SourceError):
    """The broker did not acknowledge events; the ledger says how many."""
