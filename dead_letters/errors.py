"""Errors of the collector and of the command."""

from contracts import LakehouseError


class RecordsUnavailableError(LakehouseError):
    """Kafka does not deliver records that it should have; the message names the place."""


class PositionError(LakehouseError):
    """The stored position of the collector cannot be read."""


class RetryError(LakehouseError):
    """Dead letters could not be published again."""
