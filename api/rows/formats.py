"""Media types of rows, and which of them a client wants."""

from enum import StrEnum
from http import HTTPStatus

import orjson

from api.problems import ProblemError


class Format(StrEnum):
    """How rows are written."""

    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"
    PARQUET = "parquet"
    ARROW = "arrow"


MEDIA_TYPES: dict[Format, str] = {
    Format.JSON: "application/json",
    Format.NDJSON: "application/x-ndjson",
    Format.CSV: "text/csv",
    Format.PARQUET: "application/vnd.apache.parquet",
    Format.ARROW: "application/vnd.apache.arrow.stream",
}
"""Registered with IANA, but for NDJSON's."""


def json_bytes(value: object) -> bytes:
    """Write JSON; instants are UTC with ``Z``, and a double that is not finite is null."""
    return orjson.dumps(value, option=orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z)


class NotAcceptableError(ProblemError):
    """The header Accept names no media type that rows can have."""

    def __init__(self, accept: str) -> None:
        super().__init__(
            HTTPStatus.NOT_ACCEPTABLE,
            f"Accept: {accept[:80]!r} is none of {', '.join(MEDIA_TYPES.values())}; or send format="
            f"{'|'.join(Format)}",
        )


def accepted_format(accept: str | None) -> Format:
    """The format that the header Accept likes best (RFC 9110, section 12.5.1); JSON where it does not mind.

    Raises:
        NotAcceptableError: it accepts none.
    """
    if accept is None:
        return Format.JSON
    ranges = [_media_range(each) for each in accept.split(",")]
    best, chosen = 0.0, None
    for format_, media_type in MEDIA_TYPES.items():
        weight = _weight(media_type, ranges)
        if weight > best:
            best, chosen = weight, format_
    if chosen is None:
        raise NotAcceptableError(accept)
    return chosen


def _media_range(text: str) -> tuple[str, float]:
    name, *parameters = (part.strip() for part in text.lower().split(";"))
    weight = next((each.removeprefix("q=") for each in parameters if each.startswith("q=")), "1")
    try:
        return name, float(weight)
    except ValueError:
        return name, 0.0


def _weight(media_type: str, ranges: list[tuple[str, float]]) -> float:
    """Of the most specific range that matches."""
    for name in (media_type, f"{media_type.partition('/')[0]}/*", "*/*"):
        weights = [weight for each, weight in ranges if each == name]
        if weights:
            return max(weights)
    return 0.0
