"""From wall-clock times of a time zone to instants, with daylight saving time."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

HOUR_US = 3_600_000_000
_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Instants:
    """Instants in microseconds since the epoch, and which wall-clock times occur twice or never."""

    times: Ints
    ambiguous: Bools
    nonexistent: Bools


def to_instants(local: Ints, zone: ZoneInfo, *, earliest: bool) -> Instants:
    """Instants of the wall-clock times ``local`` (microseconds since 1970-01-01T00:00 of that clock).

    Of a time that occurs twice the ``earliest`` or else the later instant is taken; one that clocks skip is
    read with the offset from before the change. This is PEP 495: ``fold`` 0 and 1 have different offsets
    exactly at such times, and the offset of ``fold`` 0 is that from before the change.
    """
    before, after = _offsets(local, zone)
    ambiguous, nonexistent = before > after, before < after
    offset = np.where(ambiguous & (not earliest), after, before)
    return Instants(local - offset, ambiguous, nonexistent)


def _offsets(local: Ints, zone: ZoneInfo) -> tuple[Ints, Ints]:
    """Offset of each time for ``fold`` 0 and 1; an hour without a change is looked up once."""
    hours, index = np.unique(local // HOUR_US, return_inverse=True)
    starts = [_both(int(hour) * HOUR_US, zone) for hour in hours]
    ends = [_both((int(hour) + 1) * HOUR_US - 1, zone) for hour in hours]
    offsets = np.array(starts, dtype=np.int64).reshape(-1, 2)[index]
    changing = np.array(
        [start != end or start[0] != start[1] for start, end in zip(starts, ends, strict=True)], dtype=bool
    )
    for position in np.flatnonzero(changing[index]) if changing.any() else ():
        offsets[position] = _both(int(local[position]), zone)
    return offsets[:, 0], offsets[:, 1]


def _both(local: int, zone: ZoneInfo) -> tuple[int, int]:
    moment = (_EPOCH + local * _MICROSECOND).replace(tzinfo=zone)
    return _offset(moment), _offset(moment.replace(fold=1))


def _offset(moment: datetime) -> int:
    return (moment.utcoffset() or timedelta(0)) // _MICROSECOND
