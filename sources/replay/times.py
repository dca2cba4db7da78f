"""Reads the time of each row as the mapping says."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sources.replay.localtime import Bools, Ints, to_instants
from sources.replay.mapping import TimeMapping
from sources.replay.values import is_missing, numbers, text

_EPOCH = datetime(1970, 1, 1)
_CENTURY = datetime(1900, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
_EARLIEST = (datetime(1, 1, 2) - _EPOCH) // _MICROSECOND
_LATEST = (datetime(9999, 12, 30) - _EPOCH) // _MICROSECOND
_PER_MICROSECOND = {"s": 1_000_000.0, "ms": 1000.0, "us": 1.0, "ns": 0.001}
_TIME_OF_DAY = frozenset("HIMSpf%")
_REMEMBERED = 200_000


@dataclass(frozen=True, slots=True)
class Problem:
    """Rows whose time cannot be read, and why."""

    rows: Bools
    reason: str


@dataclass(frozen=True, slots=True)
class ReadTimes:
    """Event times in microseconds since the epoch; those of rows in ``problems`` mean nothing."""

    times: Ints
    problems: list[Problem]


@dataclass(frozen=True, slots=True)
class _Read:
    times: Ints
    local: Bools
    """Whether it is a wall-clock time; others are instants already."""
    unreadable: Bools


class TimeReader:
    """Reads times block by block; remembers texts that it has seen, because dates repeat."""

    def __init__(self, mapping: TimeMapping, missing: tuple[str, ...], decimal: str) -> None:
        self._mapping = mapping
        self._missing = missing
        self._decimal = decimal
        self._zone = None if mapping.time_zone is None else ZoneInfo(mapping.time_zone)
        self._groups = _groups(mapping)

    def read(self, columns: dict[str, pa.Array]) -> ReadTimes:
        """Times of the rows of a block."""
        sources = [columns[name] for name in self._mapping.columns]
        absent = np.logical_or.reduce([is_missing(source, self._missing) for source in sources])
        problems = [Problem(absent, "no time")]
        read = self._read(sources)
        problems.append(Problem(read.unreadable & ~absent, f"not a time in the format {self._expected}"))
        times = np.where(read.unreadable | absent, 0, read.times)
        beyond = (times < _EARLIEST) | (times > _LATEST)
        problems.append(Problem(beyond, "outside the years 1 to 9999"))
        local = read.local & ~(read.unreadable | absent | beyond)
        if self._zone is None:
            problems.append(Problem(local, "neither an offset in the file nor a time_zone in the mapping"))
        elif local.any():
            instants = to_instants(times[local], self._zone, earliest=self._mapping.ambiguous == "earliest")
            times[local] = instants.times
            problems += self._clock_changes(local, instants.ambiguous, instants.nonexistent)
        return ReadTimes(times, problems)

    @property
    def _expected(self) -> str:
        return self._mapping.format or f"epoch {self._mapping.epoch}"

    def _clock_changes(self, local: Bools, ambiguous: Bools, nonexistent: Bools) -> list[Problem]:
        problems = []
        for policy, found, reason in (
            (self._mapping.ambiguous, ambiguous, "occurs twice when clocks go back"),
            (self._mapping.nonexistent, nonexistent, "is skipped when clocks go forward"),
        ):
            if policy == "reject" and found.any():
                rows = np.zeros(len(local), dtype=bool)
                rows[np.flatnonzero(local)[found]] = True
                problems.append(Problem(rows, f"{reason} in {self._mapping.time_zone}"))
        return problems

    def _read(self, sources: list[pa.Array]) -> _Read:
        first = sources[0]
        if len(sources) == 1 and pa.types.is_timestamp(first.type):
            return _typed(first)
        if self._mapping.epoch is not None:
            return self._epoch(first)
        texts = [text(source) for source in sources]
        if self._mapping.format == "iso8601":
            return _iso8601(_joined(texts))
        total = _Read(*(np.zeros(len(first), dtype=kind) for kind in (np.int64, bool, bool)))
        for group in self._groups:
            read = group.read(_joined([texts[position] for position in group.positions]))
            total = _Read(total.times + read.times, total.local | read.local, total.unreadable | read.unreadable)
        return total

    def _epoch(self, source: pa.Array) -> _Read:
        read = numbers(source, self._missing, self._decimal)
        scale = _PER_MICROSECOND[self._mapping.epoch or "us"]
        unreadable = read.invalid | np.isnan(read.values) | (np.abs(read.values * scale) > 1e18)
        times = np.rint(np.where(unreadable, 0, read.values * scale)).astype(np.int64)
        return _Read(times, np.zeros(len(times), dtype=bool), unreadable)


class _Group:
    """Columns that are read together by one format; a time of day counts from midnight and is added."""

    def __init__(self, positions: list[int], time_format: str, zero: datetime) -> None:
        self.positions = positions
        self._format = time_format
        self._zero = zero
        self._seen: dict[str, tuple[int, bool] | None] = {}

    def read(self, texts: pa.Array) -> _Read:
        if len(self._seen) > _REMEMBERED:
            self._seen.clear()
        return _by_distinct(texts, self._parse_remembered)

    def _parse_remembered(self, value: str) -> tuple[int, bool] | None:
        if value not in self._seen:
            self._seen[value] = self._parse(value)
        return self._seen[value]

    def _parse(self, value: str) -> tuple[int, bool] | None:
        try:
            moment = datetime.strptime(value, self._format)
            return _microseconds(moment, self._zero)
        except (ValueError, OverflowError):
            return None


def _groups(mapping: TimeMapping) -> list[_Group]:
    """One group for the date and one for each column with a time of day: few distinct texts in each."""
    if mapping.format is None or mapping.format == "iso8601":
        return []
    pieces = mapping.format.split(" ")
    every = list(range(len(mapping.columns)))
    if len(pieces) != len(mapping.columns):
        return [_Group(every, mapping.format, _EPOCH)]
    of_day = [position for position in every if _is_time_of_day(pieces[position])]
    dates = [position for position in every if position not in of_day]
    # directives that belong together, such as %I and %p, may stand in different columns
    times = [_Group(of_day, " ".join(pieces[position] for position in of_day), _CENTURY)] if of_day else []
    return [_Group(dates, " ".join(pieces[position] for position in dates), _EPOCH), *times]


def _is_time_of_day(piece: str) -> bool:
    directives = {after[:1] for after in piece.split("%")[1:]}
    return bool(directives) and directives <= _TIME_OF_DAY


def _typed(column: pa.Array) -> _Read:
    times = pc.cast(pc.cast(column, pa.timestamp("us", column.type.tz), safe=False), pa.int64())
    local = np.full(len(column), column.type.tz is None)
    return _Read(pc.fill_null(times, 0).to_numpy(), local, np.zeros(len(column), dtype=bool))


def _iso8601(texts: pa.Array) -> _Read:
    for zone in (None, "UTC"):
        try:
            column = pc.cast(texts, pa.timestamp("us", zone))
        except pa.ArrowInvalid:
            continue
        return _typed(column)
    return _by_distinct(texts, _parse_iso8601)


def _parse_iso8601(value: str) -> tuple[int, bool] | None:
    try:
        return _microseconds(datetime.fromisoformat(value), _EPOCH)
    except (ValueError, OverflowError):
        return None


def _microseconds(moment: datetime, zero: datetime) -> tuple[int, bool]:
    """Microseconds since ``zero``, and whether it is a wall-clock time."""
    if moment.tzinfo is not None:
        return (moment.astimezone(UTC).replace(tzinfo=None) - zero) // _MICROSECOND, False
    return (moment - zero) // _MICROSECOND, True


def _by_distinct(texts: pa.Array, parse: Callable[[str], tuple[int, bool] | None]) -> _Read:
    encoded = pc.fill_null(texts, "").dictionary_encode()
    parsed = [parse(value) for value in encoded.dictionary.to_pylist()]
    index: npt.NDArray[np.int32] = encoded.indices.to_numpy()
    unreadable = np.array([result is None for result in parsed], dtype=bool)
    times = np.array([0 if result is None else result[0] for result in parsed], dtype=np.int64)
    local = np.array([False if result is None else result[1] for result in parsed], dtype=bool)
    return _Read(times[index], local[index], unreadable[index])


def _joined(texts: list[pa.Array]) -> pa.Array:
    return texts[0] if len(texts) == 1 else pc.binary_join_element_wise(*texts, " ")
