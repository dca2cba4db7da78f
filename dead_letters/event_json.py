"""Reads a record as Flink's ``event-json`` format does, but says what is wrong.

The format is Jackson's streaming parser and Flink's ``JsonParserToRowDataConverters``. What they accept beyond the
JSON standard is accepted here too, since it is in the tables: bytes after the object, control characters in
strings, numbers and other values where a string is declared, numbers written as strings, fractions where an
integer is declared, 30 February as the last day of the month.
"""

import json
import re
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NoReturn, TypeAlias

from pydantic_core import from_json

from contracts import Column, ColumnType

WHITESPACE = " \t\n\r"

_JAVA_BLANK = "".join(map(chr, range(33)))
"""What ``String.trim`` of Java removes."""

LONGEST_NUMBER = 1000
LONGEST_NAME = 50_000
"""Characters; defaults of Jackson's ``StreamReadConstraints``, which also end at 1000 levels of nesting."""

# Jackson looks at the number of continuation bytes only, so that overlong forms and surrogates pass
_LOOSE_UTF8 = re.compile(rb"[\xc0-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf7][\x80-\xbf]{3}")
_UNDECODED = re.compile("[\udc80-\udcff]")

_INTEGER = re.compile(r"[+-]?\d+")
# Double.valueOf of Java, without hexadecimal digits before and after a point both missing
_DOUBLE = re.compile(
    r"[+-]?(NaN|Infinity|(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?[fFdD]?"
    r"|0[xX]([\da-fA-F]+\.?|[\da-fA-F]*\.[\da-fA-F]+)[pP][+-]?\d+[fFdD]?)",
    re.ASCII,
)
# DateTimeFormatter.ISO_LOCAL_DATE, "T", ISO_LOCAL_TIME, "Z"
_INSTANT = re.compile(
    r"(\d{4}|\+\d{5,10}|-\d{4,10})-(\d\d)-(\d\d)T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{0,9}))?)?Z", re.ASCII
)
_BOUNDS = {ColumnType.INT: 2**31, ColumnType.LONG: 2**63}
_NUMBERS = {ColumnType.INT, ColumnType.LONG, ColumnType.DOUBLE}


class Number(str):
    """A number as it is written; integers and fractions are told apart by how they are written."""

    __slots__ = ()

    @property
    def is_integer(self) -> bool:
        """Whether it has neither a fraction nor an exponent."""
        return not {".", "e", "E"} & set(self)


class Pairs(list[tuple[str, "Value"]]):
    """The members of an object, in order, with those whose name stands twice."""


Value: TypeAlias = str | Number | bool | Pairs | list["Value"] | None


class NotJsonError(ValueError):
    """The text is no JSON."""


class TruncatedError(NotJsonError):
    """The text ends before the JSON does."""


class NotUtf8Error(ValueError):
    """The bytes are no UTF-8 text."""


class BeyondLimitsError(ValueError):
    """The JSON is nested deeper, or has longer numbers or names, than a parser reads."""


class UnreadableError(ValueError):
    """A value cannot be read as the declared type."""


@dataclass(frozen=True, slots=True)
class OutOfRange:
    """An instant that :class:`datetime.datetime` cannot hold."""

    is_future: bool


Instant: TypeAlias = datetime | OutOfRange


def parse(payload: bytes) -> Value:
    """Return the first JSON value of ``payload``; what follows it is not looked at, as in Flink.

    Raises:
        NotUtf8Error: it has bytes that are no character.
        TruncatedError: it ends too early.
        NotJsonError: it is no JSON.
        BeyondLimitsError: a parser may give up on it.
    """
    text = _text(payload)
    start = len(text) - len(text.lstrip(WHITESPACE))
    try:
        value, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        if _is_truncated(payload):
            raise TruncatedError(f"the JSON ends too early, after {len(payload)} bytes") from error
        _refuse_undecoded(text, len(text))
        raise NotJsonError(f"{error.msg} at character {error.pos}") from error
    except RecursionError as error:
        raise BeyondLimitsError("it is nested very deeply") from error
    _refuse_undecoded(text, end)
    parsed: Value = value
    return parsed


def declared_members(members: Pairs, columns: tuple[Column, ...]) -> Iterator[tuple[Column, Value]]:
    """The members that are columns; after as many as there are columns, Flink skips the rest."""
    by_name = {column.name: column for column in columns}
    left = len(columns)
    for name, value in members:
        if left and (column := by_name.get(name)):
            left -= 1
            yield column, value


def read(column: Column, value: Value) -> Instant | int | None:
    """Check that ``value`` can be read as ``column``; returns what is needed of it later: instants and integers.

    Raises:
        UnreadableError: it cannot; the message says what was expected.
    """
    if value is None or column.type is ColumnType.STRING:
        return None
    if isinstance(value, list):
        raise UnreadableError(f"expected {_expected(column)}")
    text = value if isinstance(value, str) else str(value).lower()
    is_number = isinstance(value, Number)
    match column.type:
        case ColumnType.INT | ColumnType.LONG:
            return _integer(text, _BOUNDS[column.type], column, is_number=is_number)
        case ColumnType.DOUBLE if is_number or _DOUBLE.fullmatch(text.strip(_JAVA_BLANK)):
            return None
        case ColumnType.TIMESTAMP:
            return _instant(text, column)
        case ColumnType.BOOLEAN:
            return None  # whatever is not "true" is false
        case _:
            raise UnreadableError(f"expected {_expected(column)}")


def _expected(column: Column) -> str:
    if column.type in _NUMBERS:
        unit = f" in {column.unit}" if column.unit and column.unit != "1" else ""
        return ("a number" if column.type is ColumnType.DOUBLE else "an integer") + unit
    if column.type is ColumnType.TIMESTAMP:
        return "a UTC time such as 2026-11-24T07:00:00.123456Z"
    return f"a {column.type}"


def _integer(text: str, bound: int, column: Column, *, is_number: bool) -> int:
    expected = UnreadableError(f"expected {_expected(column)} from {-bound} to {bound - 1}")
    if is_number and not Number(text).is_integer:
        number = float(text)
        if not -bound <= number <= bound - 1:
            raise expected
        return int(number)
    trimmed = text.strip(_JAVA_BLANK)
    if not _INTEGER.fullmatch(trimmed) or not -bound <= int(trimmed) < bound:
        raise expected
    return int(trimmed)


def _instant(text: str, column: Column) -> Instant:
    expected = UnreadableError(f"expected {_expected(column)}")
    found = _INSTANT.fullmatch(text)
    if found is None:
        raise expected
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    microsecond = int((found[7] or "").ljust(6, "0")[:6])
    is_midnight_after = hour == 24 and not (minute or second or int(found[7] or 0))
    if not (
        1 <= month <= 12 and 1 <= day <= 31 and minute < 60 and second < 60 and (hour < 24 or is_midnight_after)
    ):
        raise expected
    if not 1 <= year < 9999:  # the last year is left out, since its last midnight is in the next
        return OutOfRange(is_future=year > 0)
    # Java's ResolverStyle.SMART: the last day of the month stands for those that it does not have
    day = min(day, monthrange(year, month)[1])
    return datetime(year, month, day, 0, minute, second, microsecond, UTC) + timedelta(hours=hour)


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return _LOOSE_UTF8.sub(b"?", payload).decode(errors="surrogateescape")


def _refuse_undecoded(text: str, end: int) -> None:
    # escapes such as \ud800 are still escapes here: a surrogate in the text is a byte that was not decoded
    if found := _UNDECODED.search(text, 0, end):
        raise NotUtf8Error(f"byte 0x{ord(found[0]) - 0xDC00:02x} is no UTF-8")


def _is_truncated(payload: bytes) -> bool:
    try:
        from_json(payload, allow_partial=True, allow_inf_nan=False)
    except ValueError:
        return False
    return True


def _number(text: str) -> Number:
    if len(text) >= LONGEST_NUMBER:
        raise BeyondLimitsError(f"it has a number of {len(text)} characters")
    return Number(text)


def _members(pairs: list[tuple[str, Value]]) -> Pairs:
    if any(len(name) >= LONGEST_NAME for name, _ in pairs):
        raise BeyondLimitsError("it has a very long name")
    return Pairs(pairs)


def _constant(text: str) -> NoReturn:
    raise json.JSONDecodeError(f"{text} is no JSON number", "", 0)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_number, parse_float=_number, parse_constant=_constant, strict=False
)
