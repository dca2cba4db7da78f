"""What can go wrong for a client of the API."""

from collections.abc import Mapping


class ApiError(Exception):
    """The API refused a request; the message is the ``detail`` of its problem document (RFC 9457).

    ``errors`` says what is wrong with each parameter, for status 422.
    """

    def __init__(self, status: int, detail: str, errors: Mapping[str, str]) -> None:
        super().__init__(f"{status}: {detail}")
        self.status = status
        self.detail = detail
        self.errors = errors


class NotReachableError(Exception):
    """The API does not answer, after all tries."""
