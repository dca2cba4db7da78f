"""How often each key may be used: counted in Redis for all processes together, in sliding windows.

The windows are those of the library ``limits``. A process takes a hundredth of a limit at once and spends it on
its own, so that a busy key costs a round trip to Redis for that many requests, and any key at most one for each.
So much of a limit may be refused too early, when another process has taken but not spent it, or be spent in the
window after the one that it was taken in.
"""

import asyncio
import time
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from math import ceil

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.storage.redis.bridge import RedisBridge
from redis.asyncio import Redis

from api.circuit_breaker import CircuitBreaker, RedisAwayError
from api.metrics import Metrics
from api.problems import ProblemError
from settings import Rate, parse_rate

POLICY = "key"
"""What the fields of an answer call the limit of a key."""
TAKEN_AT_ONCE = 0.01
"""Share of a limit that a process takes at once."""
PATIENCE_S = 0.25
"""How long Redis may take: a request is not held up by its limit."""
PAUSE_S = 1.0
"""How long requests go on without a limit before Redis is asked again."""
MOST_KNOWN = 10_000
"""Keys whose standing a process remembers."""

PREFIX = "rate"
"""Of the keys in Redis."""

Headers = tuple[tuple[bytes, bytes], ...]

_ACQUIRE = RedisBridge.SCRIPT_ACQUIRE_SLIDING_WINDOW.decode()
_COUNT = RedisBridge.SCRIPT_SLIDING_WINDOW.decode()

parsed = lru_cache(maxsize=256)(parse_rate)


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a request is admitted, how many more are, and in how many seconds further ones."""

    rate: Rate
    admitted: bool
    remaining: int
    more_in_s: int

    @property
    def headers(self) -> Headers:
        """Fields that tell (draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4)."""
        return (
            (b"ratelimit-policy", b'"%s";q=%d;w=%d' % (POLICY.encode(), self.rate.requests, self.rate.seconds)),
            (b"ratelimit", b'"%s";r=%d;t=%d' % (POLICY.encode(), self.remaining, self.more_in_s)),
        )


class TooManyRequestsError(ProblemError):
    """A key was used as often as it may be."""

    def __init__(self, caller: str, standing: Standing) -> None:
        fields = {name.decode(): value.decode() for name, value in standing.headers}
        rate = standing.rate
        super().__init__(
            HTTPStatus.TOO_MANY_REQUESTS,
            f"the limit of {caller} is {rate.requests} requests in {rate.seconds} s: send the next in "
            f"{standing.more_in_s} s, or ask for a key with a higher --rate",
            violated_policies=[POLICY],
            headers={"Retry-After": str(standing.more_in_s), **fields},
        )


class RateLimiter:
    """Admits requests; belongs to one event loop. While Redis does not answer, all are admitted."""

    def __init__(self, client: Redis, default: str, metrics: Metrics) -> None:
        self._windows = _Windows(client)
        self._default = default
        self._metrics = metrics
        self._quotas: dict[tuple[str, Rate], _Quota] = {}
        self._breaker = CircuitBreaker("requests are not limited")

    async def admit(self, caller: str, rate: str | None) -> Standing | None:
        """Count a request of ``caller``; returns what he has left, or ``None`` where nothing limits him now.

        Args:
            caller: says who it is.
            rate: what he may, as ``600/minute``; ``None`` for what the settings say.

        Raises:
            TooManyRequestsError: he has sent as many as he may.
        """
        limit = parsed(self._default if rate is None else rate)
        if limit is None:
            return None
        quota = self._quota(caller, limit)
        standing = quota.spend()
        if standing is None:
            # one asks Redis, and the others spend what it has got
            async with quota.asking:
                standing = quota.spend() or await self._take(caller, quota)
        if standing is None:
            self._metrics.unlimited.inc()
        elif not standing.admitted:
            self._metrics.limited.inc()
            raise TooManyRequestsError(caller, standing)
        return standing

    def _quota(self, caller: str, limit: Rate) -> "_Quota":
        quota = self._quotas.get((caller, limit))
        if quota is None:
            if len(self._quotas) >= MOST_KNOWN:
                # the one that came first: what it has not spent is lost to it
                del self._quotas[next(iter(self._quotas))]
            quota = self._quotas[(caller, limit)] = _Quota(limit)
        return quota

    async def _take(self, caller: str, quota: "_Quota") -> Standing | None:
        item = RateLimitItemPerSecond(quota.rate.requests, quota.rate.seconds)
        wanted = max(1, int(quota.rate.requests * TAKEN_AT_ONCE))

        async def take() -> _Taken:
            taken = await self._windows.take(item, caller, wanted)
            if not taken.granted and taken.remaining:
                taken = await self._windows.take(item, caller, 1)
            return taken

        try:
            taken = await self._breaker.ask(take, within_s=PATIENCE_S, pause_s=PAUSE_S)
        except RedisAwayError:
            return None
        quota.refill(taken)
        return quota.spend()


class _Quota:
    """What this process has taken of the limit of a key."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.asking = asyncio.Lock()
        self._left = 0
        self._in_redis = 0
        self._spend_until = self._refuse_until = self._more_at = float("-inf")

    def spend(self) -> Standing | None:
        """Admit or refuse a request; ``None`` where Redis has to be asked."""
        now = time.monotonic()
        if now < self._refuse_until:
            return self._standing(now, admitted=False)
        if not self._left or now >= self._spend_until:
            return None
        self._left -= 1
        return self._standing(now, admitted=True)

    def refill(self, taken: "_Taken") -> None:
        """Note what Redis said."""
        now = time.monotonic()
        self._left, self._in_redis = taken.granted, taken.remaining
        self._more_at = now + taken.more_in_s
        self._spend_until = now + self.rate.seconds
        if not taken.granted:
            self._refuse_until = self._more_at

    def _standing(self, now: float, *, admitted: bool) -> Standing:
        return Standing(self.rate, admitted, self._in_redis + self._left, max(1, ceil(self._more_at - now)))


@dataclass(frozen=True, slots=True)
class _Taken:
    """How many requests Redis grants, how many are left there, and in how many seconds there is another."""

    granted: int
    remaining: int
    more_in_s: float


class _Windows(RedisStorage):
    """The windows of ``limits``, which there take two round trips: one to count, one to ask what is left."""

    def __init__(self, client: Redis) -> None:
        super().__init__(
            "async+redis://",
            implementation="redispy",
            key_prefix=PREFIX,
            # its options are declared as plain values, but this one is documented
            connection_pool=client.connection_pool,  # type: ignore[arg-type]
        )
        self._client = client

    async def take(self, item: RateLimitItem, caller: str, amount: int) -> _Taken:
        """Take ``amount`` requests, all or none.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        key, window_ms = item.key_for(caller), item.get_expiry() * 1000
        names = (self._previous_window_key(key), self._current_window_key(key))
        keys = [self.bridge.prefixed_key(name) for name in names]
        async with self._client.pipeline(transaction=False) as pipeline:
            pipeline.eval(_ACQUIRE, len(keys), *keys, item.amount, item.get_expiry(), amount)
            pipeline.eval(_COUNT, len(keys), *keys, item.get_expiry())
            granted, (previous, _, current, current_ms) = await pipeline.execute()
        before, since = int(previous or 0), int(current or 0)
        left_ms = max(0, current_ms - window_ms)
        return _Taken(
            granted=amount if granted else 0,
            remaining=max(0, item.amount - since - before * left_ms // window_ms),
            more_in_s=until_more_ms(before, left_ms, window_ms) / 1000,
        )


def until_more_ms(before: int, left_ms: int, window_ms: int) -> int:
    """In how many milliseconds the requests that count become one fewer.

    Those of the window before count for the share of the current window that is left; those of the current one
    begin to count less when it ends.

    Args:
        before: requests of the window before.
        left_ms: what is left of the current window.
        window_ms: how long a window is.
    """
    counted = before * left_ms // window_ms
    # the last millisecond at which there are as many, rounded up as they are rounded down
    return left_ms - (-(-counted * window_ms // before) if before else 0) + 1
