"""The hot view in Redis: how a client connects, which keys there are, and what stands in them.

All keys begin with ``hot:``. Of each family there are

* ``hot:<family>:sensor:<sensor_id>``, the newest reading of a sensor: an entry, until the reading is stale;
* ``hot:<family>:zone:<zone>:<minute>``, the aggregates so far of a zone's minute: an entry;
* ``hot:<family>:members``, a sorted set of ``<zone>\\0<sensor_id>``, all with score 0 and so in the order of their
  bytes; it may list sensors whose reading is gone or names another zone by now;
* ``hot:<family>:zones``, a sorted set of zones, the score is when its newest minute is gone (ms since the epoch);
* ``hot:changes:<family>``, a stream of the entries as they are written, each under the name of what it is about
  (``sensor`` or ``zone``): the newest ``CHANGES_KEPT`` of them, so that a client whose connection broke goes on
  from the one that it saw last.

Apart from them, ``hot:progress`` is a hash with the generation of the view and the Kafka offsets that are in it.

An entry is ``<order><length of zone><zone><document>``, order and length as decimal digits of a fixed width, so
that a script compares two entries, and a reader takes the JSON document, without decoding it. A zone stands in
entries and in sorted sets as in JSON, but without quotes, so that it holds no control character.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any, cast

import orjson
import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from settings import Settings

EPOCH = datetime.fromtimestamp(0, UTC)

ORDER_WIDTH = 47
"""Digits by which the newer of two entries is the greater."""
EVENT_TIME_WIDTH = 18
"""Of those of a reading, the first: its event time, in microseconds since the epoch."""
ZONE_LENGTH_WIDTH = 5
HEADER_WIDTH = ORDER_WIDTH + ZONE_LENGTH_WIDTH

PROGRESS_KEY = "hot:progress"
ALIVE_KEY = "hot:alive"
"""There as long as the loader works."""

CONNECT_TIMEOUT_S = 2.0
REPLY_TIMEOUT_S = 5.0
MAX_CONNECTIONS = 32

CHANGES_KEPT = 20_000
"""Changes of a family that can be read again: some ten MiB, ten seconds of two thousand a second."""

WINDOW_MINUTES = 5
"""Minutes of the rolling aggregate of a zone."""
NEWEST_MINUTE_FOR = timedelta(minutes=7)
"""How long after its start a minute can be the newest of its zone: afterwards the zone is silent."""
MINUTE_FOR = NEWEST_MINUTE_FOR + timedelta(minutes=WINDOW_MINUTES)
"""How long after its start a minute is kept: it may belong to the window of a newer one."""


class Subject(StrEnum):
    """What an entry is about."""

    SENSOR = "sensor"
    ZONE = "zone"


def connect(settings: Settings) -> redis.Redis:
    """Return a client; it connects when first used."""
    return redis.Redis(**_options(settings), retry=Retry(NoBackoff(), 1))


def connect_async(settings: Settings) -> redis.asyncio.Redis:
    """Return a client for one event loop; it connects when first used, and waits for a connection to be free."""
    pool = redis.asyncio.BlockingConnectionPool(
        **_options(settings), retry=AsyncRetry(NoBackoff(), 1), max_connections=MAX_CONNECTIONS, timeout=None
    )
    return redis.asyncio.Redis.from_pool(pool)


def connect_async_once(settings: Settings) -> redis.asyncio.Redis:
    """Return a client of one connection, which is for one question at a time, and who asks sets its time limit.

    A question costs half of what it does with :func:`connect_async`, which looks whether a connection of its pool
    is still good, and limits the time of each thing that it sends and reads.
    """
    options = _options(settings) | {"socket_timeout": None}
    return redis.asyncio.Redis(**options, retry=AsyncRetry(NoBackoff(), 1), single_connection_client=True)


def loaded_offsets(settings: Settings, topic: str) -> dict[int, int]:
    """Offset to read next of each partition of ``topic``, as far as the view has them.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    prefix = f"{topic}/".encode()
    with connect(settings) as client:
        progress = cast(Mapping[bytes, bytes], client.hgetall(PROGRESS_KEY))
    return {
        int(name.removeprefix(prefix)): int(offset) for name, offset in progress.items() if name.startswith(prefix)
    }


def reading_key(family: str, sensor_id: str) -> str:
    """Key of a sensor's newest reading."""
    return f"hot:{family}:sensor:{sensor_id}"


def minute_key(family: str, zone: str, minute: datetime) -> str:
    """Key of a zone's minute, given by its start in UTC."""
    return f"hot:{family}:zone:{zone}:{minute:%Y-%m-%dT%H:%M}"


def members_key(family: str) -> str:
    """Key of the sensors of a family, by zone."""
    return f"hot:{family}:members"


def zones_key(family: str) -> str:
    """Key of the zones of a family that have aggregates."""
    return f"hot:{family}:zones"


def changes_key(family: str) -> str:
    """Key of the stream of a family's changes."""
    return f"hot:changes:{family}"


@lru_cache(maxsize=4096)
def zone_bytes(zone: str | None) -> bytes:
    """Write a zone as it stands in entries and sorted sets; that of a sensor without one is empty."""
    return orjson.dumps(zone or "")[1:-1]


def entry(order: int, zone: bytes, document: bytes) -> bytes:
    """Make an entry; of two entries of a key the one with the greater ``order`` is the newer."""
    return b"%047d%05d%b%b" % (order, len(zone), zone, document)


def document(entry: bytes) -> bytes:
    """The JSON document of an entry."""
    return entry[HEADER_WIDTH + int(entry[ORDER_WIDTH:HEADER_WIDTH]) :]


def order(entry: bytes) -> bytes:
    """The order of an entry, as decimal digits."""
    return entry[:ORDER_WIDTH].lstrip(b"0")


def event_time(reading: bytes) -> datetime:
    """The event time of the entry of a reading."""
    return EPOCH + timedelta(microseconds=int(reading[:EVENT_TIME_WIDTH]))


def zone(entry: bytes) -> bytes:
    """The zone of an entry; empty where it names none."""
    return entry[HEADER_WIDTH : HEADER_WIDTH + int(entry[ORDER_WIDTH:HEADER_WIDTH])]


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "host": settings.redis_host,
        "port": settings.redis_port,
        "password": settings.redis_password.get_secret_value(),
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": REPLY_TIMEOUT_S,
        "socket_keepalive": True,
    }
