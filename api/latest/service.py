"""Reads the hot view; documents go out as the bytes that the stream wrote."""

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import cast

import orjson
from redis.asyncio import Redis

from api.latest.age import age
from api.latest.window import Minutes, parse_minutes, rolling_window
from api.tables.states import utc_now
from contracts import Family
from resources.hot_view import (
    MINUTE_FOR,
    document,
    event_time,
    members_key,
    minute_key,
    reading_key,
    zone_bytes,
    zones_key,
)
from resources.hot_view import zone as zone_of

_MINUTE = timedelta(minutes=1)


async def latest_of_family(
    redis: Redis, family: Family, *, zone: str | None, limit: int
) -> tuple[bytes, datetime | None]:
    """Return readings by zone and sensor, and the rolling windows of the zones, as one JSON object.

    Beside it, the event time of the newest of what is in it.

    Args:
        redis: where the hot view is.
        family: whose readings.
        zone: only of this zone; all where it is ``None``.
        limit: most readings.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    members, zones = await _index(redis, family, zone, limit)
    minutes = _minutes(family)
    keys = [reading_key(family.name, member.split(b"\0", 1)[1].decode()) for member in members[:limit]]
    minute_keys = [minute_key(family.name, name, minute) for name in zones for minute in minutes]
    wanted = [*keys, *minute_keys]
    entries = cast(Sequence[bytes | None], await redis.mget(wanted) if wanted else [])
    readings = [
        entry
        for member, entry in zip(members, entries[: len(keys)], strict=False)
        # the index may name a sensor that has fallen silent or moved to another zone
        if entry is not None and member.startswith(zone_of(entry) + b"\0")
    ]
    windows = []
    for index in range(len(zones)):
        first = len(keys) + index * len(minutes)
        documents = _documents(entries[first : first + len(minutes)])
        if window := rolling_window(family, parse_minutes(documents)):
            windows.append(window)
    times = [datetime.fromisoformat(window["newest_event"]) for window in windows]
    newest = max((*times, *map(event_time, readings)), default=None)
    head = {
        "family": family.name,
        "zone": zone,
        "source": "live",
        "snapshot_id": None,
        **age(newest),
        "quality": None,
        "since": utc_now() - family.stale_after,
        "reading_count": len(readings),
        "has_more": len(members) > limit,
        "zones": windows,
    }
    written = orjson.dumps(head, option=orjson.OPT_UTC_Z)
    return b'%b,"readings":[%b]}' % (written[:-1], b",".join(map(document, readings))), newest


async def minutes_of_zones(redis: Redis, *, family: Family, zone: str | None) -> list[Minutes]:
    """Return what the hot view has of the minutes of ``zone``, or of each zone.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    zones = await _zones(redis, family) if zone is None else [zone]
    starts = _minutes(family)
    keys = [minute_key(family.name, name, start) for name in zones for start in starts]
    entries = cast(Sequence[bytes | None], await redis.mget(keys) if keys else [])
    of_zones = (entries[first : first + len(starts)] for first in range(0, len(entries), len(starts)))
    return [parse_minutes(_documents(each)) for each in of_zones]


async def _zones(redis: Redis, family: Family) -> list[str]:
    found = await redis.zrange(zones_key(family.name), int(time.time() * 1000), "+inf", byscore=True)
    return _zone_names(cast(Sequence[bytes], found))


def _zone_names(found: Iterable[bytes]) -> list[str]:
    return sorted(orjson.loads(b'"%b"' % name) for name in found)


async def _index(redis: Redis, family: Family, zone: str | None, limit: int) -> tuple[list[bytes], list[str]]:
    """Members of the family or zone, one more than ``limit``, and zones that have aggregates."""
    start, end = (b"-", b"+") if zone is None else (b"[%b\0" % zone_bytes(zone), b"(%b\x01" % zone_bytes(zone))
    async with redis.pipeline(transaction=False) as pipeline:
        pipeline.zrange(members_key(family.name), start, end, bylex=True, offset=0, num=limit + 1)
        if zone is None:
            pipeline.zrange(zones_key(family.name), int(time.time() * 1000), "+inf", byscore=True)
        members, *zones = await pipeline.execute()
    if zone is not None:
        return members, [zone]
    return members, _zone_names(zones[0])


def _minutes(family: Family) -> list[datetime]:
    """Minutes that may be in the view, given the clock of this machine; an event may be from the future."""
    newest = datetime.now(UTC) + family.max_clock_ahead
    newest = newest.replace(second=0, microsecond=0)
    return [newest - index * _MINUTE for index in range((MINUTE_FOR + family.max_clock_ahead) // _MINUTE + 2)]


def _documents(entries: Iterable[bytes | None]) -> list[bytes]:
    return [document(entry) for entry in entries if entry is not None]
