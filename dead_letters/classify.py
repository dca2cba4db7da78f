"""Why a record is no valid event: the conditions of Flink's job, with a name for each that can fail."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from contracts import Column, Family
from contracts.tables import EARLIEST_EVENT_TIME, REQUIRED_EVENT_COLUMNS, SCHEMA_VERSION, wire_columns
from dead_letters.event_json import (
    WHITESPACE,
    BeyondLimitsError,
    Instant,
    NotJsonError,
    NotUtf8Error,
    Number,
    OutOfRange,
    Pairs,
    TruncatedError,
    UnreadableError,
    Value,
    declared_members,
    parse,
    read,
)

EVENT_TIME = "event_time"
SHOWN_CHARACTERS = 60


class ErrorClass(StrEnum):
    """Kinds of errors; the names are stored and stay as they are."""

    NULL_VALUE = "null_value"
    """The record has no value."""
    EMPTY = "empty"
    """The value has no bytes, or blanks only."""
    OVERSIZE = "oversize"
    """The value is larger than the family allows."""
    INVALID_UTF8 = "invalid_utf8"
    """The value has bytes that are no UTF-8 text."""
    NOT_JSON = "not_json"
    """The value is no JSON."""
    TRUNCATED = "truncated"
    """The value is the beginning of a JSON object."""
    NOT_AN_OBJECT = "not_an_object"
    """The value is JSON, but no object."""
    WRONG_TYPE = "wrong_type"
    """A field cannot be read as the type that the contract declares."""
    MISSING_FIELD = "missing_field"
    """A required field is absent or null."""
    UNKNOWN_SCHEMA_VERSION = "unknown_schema_version"
    """The event says that it has a layout which the contract does not know."""
    IMPOSSIBLE_TIME = "impossible_time"
    """The event time cannot be read, or is before any sensor was built."""
    CLOCK_AHEAD = "clock_ahead"
    """The event time is further ahead of the broker's clock than the family allows."""
    UNCLASSIFIED = "unclassified"
    """The stream left the record out, and nothing is found that is wrong with it."""


@dataclass(frozen=True, slots=True)
class Defect:
    """What is wrong with a record: the kind of error, the field where it is one, and a line for its sender."""

    error_class: ErrorClass
    field: str | None
    message: str


UNKNOWN_DEFECT = Defect(
    ErrorClass.UNCLASSIFIED,
    None,
    "the stream left this record out although it reads as a valid event: was the contract changed meanwhile?",
)


def classify(payload: bytes | None, kafka_time: datetime, family: Family) -> Defect | None:
    """Return why ``payload`` is no valid event of ``family``, or ``None`` if it is one.

    Args:
        payload: value of the Kafka record.
        kafka_time: timestamp of the record, which bounds the event time.
        family: whose contract to apply.
    """
    defect = _unparsable(payload, family)
    if defect is not None or payload is None:
        return defect
    try:
        value = parse(payload)
    except NotUtf8Error as error:
        return Defect(ErrorClass.INVALID_UTF8, None, f"{error}: encode the event as UTF-8")
    except TruncatedError as error:
        return Defect(ErrorClass.TRUNCATED, None, str(error))
    except NotJsonError as error:
        return Defect(ErrorClass.NOT_JSON, None, f"{error}: {_shortened(payload.decode(errors='replace'))}")
    except BeyondLimitsError as error:
        return Defect(ErrorClass.UNCLASSIFIED, None, f"the JSON may be more than a parser takes: {error}")
    return _classify_value(value, kafka_time, family)


def _unparsable(payload: bytes | None, family: Family) -> Defect | None:
    if payload is None:
        return Defect(ErrorClass.NULL_VALUE, None, "the record has no value: publish an event as JSON")
    if not payload.strip(WHITESPACE.encode()):
        return Defect(ErrorClass.EMPTY, None, f"{len(payload)} bytes that say nothing: publish an event as JSON")
    if len(payload) > family.max_event_bytes:
        return Defect(
            ErrorClass.OVERSIZE,
            None,
            f"the value has {len(payload)} bytes, at most {family.max_event_bytes} are read",
        )
    return None


def _classify_value(value: Value, kafka_time: datetime, family: Family) -> Defect | None:
    if not isinstance(value, Pairs):
        return Defect(ErrorClass.NOT_AN_OBJECT, None, f"expected a JSON object, found {_shown(value)}")
    return _classify_event(value, kafka_time, family)


def _classify_event(members: Pairs, kafka_time: datetime, family: Family) -> Defect | None:
    present: dict[str, Value] = {}
    understood: dict[str, Instant | int | None] = {}
    for column, value in declared_members(members, (*wire_columns(family), SCHEMA_VERSION)):
        try:
            understood[column.name] = read(column, value)
        except UnreadableError as error:
            return _unreadable(column, value, error)
        present[column.name] = value
    for name in REQUIRED_EVENT_COLUMNS:
        if present.get(name) is None:
            problem = "is null" if name in present else "is missing"
            return Defect(ErrorClass.MISSING_FIELD, name, f"{name} {problem}: every event carries it")
    version = understood.get(SCHEMA_VERSION.name)
    if version is not None and version not in family.schema_versions:
        known = ", ".join(map(str, family.schema_versions))
        return Defect(
            ErrorClass.UNKNOWN_SCHEMA_VERSION,
            SCHEMA_VERSION.name,
            f"{SCHEMA_VERSION.name} {version} is unknown, the contract of {family.name} knows {known}",
        )
    moment = understood[EVENT_TIME]
    if not isinstance(moment, datetime | OutOfRange):
        raise TypeError(f"{EVENT_TIME} is declared as something else than an instant")
    return _classify_time(moment, present[EVENT_TIME], kafka_time, family)


def _classify_time(moment: Instant, value: Value, kafka_time: datetime, family: Family) -> Defect | None:
    latest = kafka_time + family.max_clock_ahead
    if moment.is_future if isinstance(moment, OutOfRange) else moment > latest:
        return Defect(
            ErrorClass.CLOCK_AHEAD,
            EVENT_TIME,
            f"{EVENT_TIME} {_shown(value)} is after {_iso(latest)}, the time of the broker plus "
            f"{_seconds(family.max_clock_ahead)}: set the sensor's clock",
        )
    if isinstance(moment, OutOfRange) or moment < EARLIEST_EVENT_TIME:
        return Defect(
            ErrorClass.IMPOSSIBLE_TIME,
            EVENT_TIME,
            f"{EVENT_TIME} {_shown(value)} is before {_iso(EARLIEST_EVENT_TIME)}: set the sensor's clock",
        )
    return None


def _unreadable(column: Column, value: Value, error: UnreadableError) -> Defect:
    is_time = column.name == EVENT_TIME
    return Defect(
        ErrorClass.IMPOSSIBLE_TIME if is_time else ErrorClass.WRONG_TYPE,
        column.name,
        f"{column.name} is {_shown(value)}, {error}",
    )


def _shown(value: Value) -> str:
    match value:
        case Pairs():
            return "an object"
        case list():
            return "an array"
        case None | True | False:
            return {None: "null", True: "true", False: "false"}[value]
        case Number():
            return _cut(value)
        case _:
            return _shortened(str(value))


def _shortened(text: str) -> str:
    # one line, whatever is in it; and a lone surrogate cannot be stored
    return ascii(_cut(text)) if not text.isprintable() else f'"{_cut(text)}"'


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _seconds(length: timedelta) -> str:
    return f"{length.total_seconds():g} s"
