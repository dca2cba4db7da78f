"""Finished answers in Redis, for all processes of the API.

It is the Redis of the hot view, which must lose nothing: the answers keep within a budget of their own, whatever
Redis does when it is full, in three keys that go together.

* ``answers:bodies``, a hash of answers by name;
* ``answers:use``, a sorted set of the names, the score is when each was used last (ms since the epoch);
* ``answers:bytes``, how many bytes they take.

An answer is a line of JSON with its name, what is left of a :class:`Page`, and how the body is packed; then the
body. Names stand for everything that an answer depends on, so that none is ever wrong, only unused.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal, cast

import orjson
import zstandard
from anyio import to_thread
from pydantic import TypeAdapter, ValidationError
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from api.caching.metrics import CacheMetrics
from api.caching.page import Page
from api.circuit_breaker import CircuitBreaker, RedisAwayError
from settings import Settings

KEYS = ("answers:bodies", "answers:use", "answers:bytes")
ENTRY_BYTES = 256
"""Of Redis' memory that an answer takes beside its own bytes."""
MOST_BYTES = 1 << 20
"""Of one answer, packed: Redis does nothing else while it takes it."""
KEEP_MS = 3_600_000
"""How long an answer is kept that nobody asks for."""
TIMEOUT_S = 0.2
"""How long Redis may take; reading a few files takes less than much more."""
AWAY_S = 5.0
"""How long it is not asked after it failed."""
MOST_PUTS = 16
"""Answers on their way to Redis; more are not worth their memory."""
MAX_CONNECTIONS = 32

Packing = Literal["plain", "zstd"]
_HEAD = TypeAdapter(tuple[str, bool, str | None, Packing])


def connect_answers(settings: Settings) -> Redis:
    """Return a client for one event loop that gives up soon; it connects when first used."""
    return Redis(
        host=settings.redis_host,
        port=settings.redis_port,
        password=settings.redis_password.get_secret_value(),
        socket_connect_timeout=TIMEOUT_S,
        socket_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        max_connections=MAX_CONNECTIONS,
    )


class SharedAnswers:
    """Gets and puts answers as long as Redis answers, and does without while it does not; of one event loop."""

    def __init__(self, client: Redis, budget: int, metrics: CacheMetrics) -> None:
        self._client = client
        self._budget = budget
        self._counted = metrics.of("shared_answers")
        self._breaker = CircuitBreaker("answers are not shared", metrics.shared_errors.inc)
        folder = Path(__file__).parent
        self._get = client.register_script((folder / "get_answer.lua").read_text())
        self._put = client.register_script((folder / "put_answer.lua").read_text())
        self._puts: set[asyncio.Task[None]] = set()

    async def get(self, name: str) -> Page | None:
        """The answer ``name``, if it is there."""
        if not self._budget:
            return None
        packed = await self._ask(lambda: self._get(keys=KEYS[:2], args=[name, _now_ms()]))
        page = None if packed is None else _unpacked(name, cast(bytes, packed))
        (self._counted.misses if page is None else self._counted.hits).inc()
        return page

    def put_soon(self, name: str, page: Page) -> None:
        """Begin to keep ``page``, unless it is large; nobody waits for that."""
        if self._budget and not self._breaker.is_open and len(self._puts) < MOST_PUTS:
            put = asyncio.create_task(self._keep(name, page))
            self._puts.add(put)
            put.add_done_callback(self._puts.discard)

    async def close(self) -> None:
        """Wait for what is on its way, and disconnect."""
        await asyncio.gather(*self._puts, return_exceptions=True)
        await self._client.aclose()

    async def _keep(self, name: str, page: Page) -> None:
        packed = await to_thread.run_sync(_packed, name, page)
        if len(packed) > min(MOST_BYTES, self._budget - ENTRY_BYTES):
            return
        args = (name, packed, _now_ms(), KEEP_MS, self._budget, ENTRY_BYTES)
        kept = await self._ask(lambda: self._put(keys=KEYS, args=args))
        if kept is not None:
            total, gone = cast(tuple[int, int], kept)
            self._counted.bytes.set(total)
            self._counted.evictions.inc(gone)

    async def _ask(self, ask: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401
        """What Redis says, ``None`` where it does not."""
        try:
            return await self._breaker.ask(ask, within_s=TIMEOUT_S, pause_s=AWAY_S)
        except RedisAwayError:
            return None


def _now_ms() -> int:
    return int(time.time() * 1000)


def _packed(name: str, page: Page) -> bytes:
    body = cast(bytes, page.body)
    smaller = zstandard.ZstdCompressor(level=1).compress(body)
    packing: Packing = "zstd" if len(smaller) < len(body) else "plain"
    head = orjson.dumps([name, page.has_more, page.next_cursor, packing])
    return b"\n".join([head, smaller if packing == "zstd" else body])


def _unpacked(name: str, packed: bytes) -> Page | None:
    """The answer, if it is whole and that of ``name``."""
    head, _, body = packed.partition(b"\n")
    try:
        of, has_more, next_cursor, packing = _HEAD.validate_json(head)
        if packing == "zstd":
            body = zstandard.ZstdDecompressor().decompress(body)
    except (ValidationError, zstandard.ZstdError):
        return None
    return Page(body, has_more, next_cursor) if of == name else None
