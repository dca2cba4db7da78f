"""From a record of a hot topic to an entry of the view."""

from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from contracts import Family, LakehouseError
from resources.hot_view import MINUTE_FOR, entry, zone_bytes

_SENSOR = b"sensor:"
_ZONE = b"zone:"

_MICROSECOND = timedelta(microseconds=1)
_MINUTE_FOR_US = MINUTE_FOR // _MICROSECOND

_DATE_WIDTH = len("2026-11-24")
_SECONDS_WIDTH = len("2026-11-24T07:00:00")
_OFFSETS = 10**19
_PARTITIONS = 10**10
"""More than any offset and partition: both follow the event time in the order of readings."""


class RecordError(LakehouseError):
    """A record of a hot topic is not what the job writes."""


class Update(NamedTuple):
    """An entry for a key of the view; of several, the one with the greatest ``order`` holds.

    ``order`` is ``None`` for a tombstone. ``expires_ms`` counts from the epoch.
    """

    key: bytes
    order: int | None
    zone: bytes
    document: bytes
    expires_ms: int

    def entry(self) -> bytes:
        """What is written to Redis; empty for a tombstone."""
        return b"" if self.order is None else entry(self.order, self.zone, self.document)


class RecordReader:
    """Reads the records of one family's hot topic."""

    def __init__(self, family: Family) -> None:
        self._prefix = f"hot:{family.name}:".encode()
        self._stale_after_us = family.stale_after // _MICROSECOND
        self._name = family.name

    def read(self, key: bytes | None, value: bytes | None) -> Update:
        """Turn a record into an update.

        Raises:
            RecordError: the record is neither a reading nor a zone's minute.
        """
        try:
            if key is not None and key.startswith(_SENSOR):
                return self._reading(key, value)
            if key is not None and key.startswith(_ZONE):
                return self._minute(key, value)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise RecordError(
                f"a record of hot.{self._name} with key {key!r} is not readable: {error!r}"
            ) from error
        raise RecordError(
            f"a record of hot.{self._name} has key {key!r}: expected sensor:<id> or zone:<zone>:<minute>"
        )

    def _reading(self, key: bytes, value: bytes | None) -> Update:
        if not value:
            return Update(self._prefix + key, None, b"", b"", 0)
        fields = orjson.loads(value)
        event_us = _epoch_us(fields["event_time"])
        order = (event_us * _OFFSETS + fields["kafka_offset"]) * _PARTITIONS + fields["kafka_partition"]
        return Update(
            self._prefix + key,
            order,
            zone_bytes(fields.get("zone")),
            _one_line(value, fields),
            (event_us + self._stale_after_us) // 1000,
        )

    def _minute(self, key: bytes, value: bytes | None) -> Update:
        if not value:
            return Update(self._prefix + key, None, b"", b"", 0)
        fields = orjson.loads(value)
        minute_us = _epoch_us(fields["minute"])
        return Update(
            self._prefix + key,
            (minute_us * _OFFSETS + fields["event_count"]) * _PARTITIONS,
            zone_bytes(fields["zone"]),
            _one_line(value, fields),
            (minute_us + _MINUTE_FOR_US) // 1000,
        )


def _epoch_us(text: str) -> int:
    """Microseconds from the epoch to an instant such as ``2026-11-24T07:00:00.123Z``; any number of decimals."""
    if text[-1] != "Z" or text[_DATE_WIDTH] != "T":
        raise ValueError(f"{text!r} is no instant in UTC")
    decimals = text[_SECONDS_WIDTH:-1]
    seconds_us = _whole_seconds_us(text[:_SECONDS_WIDTH])
    if not decimals:
        return seconds_us
    if decimals[0] != "." or not decimals[1:].isdecimal():
        raise ValueError(f"{text!r} is no instant in UTC")
    return seconds_us + int(decimals[1:7].ljust(6, "0"))


@lru_cache(maxsize=4096)
def _whole_seconds_us(text: str) -> int:
    return int(datetime.fromisoformat(f"{text}+00:00").timestamp()) * 1_000_000


def _one_line(value: bytes, fields: dict[str, Any]) -> bytes:
    return value if b"\n" not in value else orjson.dumps(fields)
