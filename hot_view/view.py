"""The view in Redis, as its writer sees it."""

import secrets
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

import redis

from hot_view.records import Update
from resources.hot_view import (
    ALIVE_KEY,
    CHANGES_KEPT,
    HEADER_WIDTH,
    ORDER_WIDTH,
    PROGRESS_KEY,
    ZONE_LENGTH_WIDTH,
    members_key,
    reading_key,
    zones_key,
)

ALIVE_FOR_MS = 5_000
"""How long the loader passes for alive after it last said so."""

Position = tuple[str, int]
"""Topic and partition."""


class ViewLostError(Exception):
    """Redis was emptied, or is another one: what was loaded is gone."""


class View:
    """Writes to the view; each method is one atomic step in Redis and raises :class:`redis.RedisError`.

    How far the topics were read stands in the same Redis as what was read, written in the same step: the one is
    never there without the other, whatever happens to the loader or to Redis.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        folder = Path(__file__).parent
        self._apply = client.register_script((folder / "apply.lua").read_text())
        self._purge = client.register_script((folder / "purge.lua").read_text())
        self._generation = ""

    def open(self) -> dict[Position, int]:
        """Begin to write, and return the offset to read next of each partition; none of an empty view."""
        self._client.hsetnx(PROGRESS_KEY, "generation", secrets.token_hex(8))
        progress = cast(Mapping[bytes, bytes], self._client.hgetall(PROGRESS_KEY))
        self._generation = progress[b"generation"].decode()
        return {
            _position(name.decode()): int(offset) for name, offset in progress.items() if name != b"generation"
        }

    def apply(self, updates: Iterable[Update], positions: Mapping[Position, int]) -> int:
        """Write what is newer than what is there and not stale, and how far the topics are in the view now.

        Args:
            updates: at most one for each key.
            positions: next offset of each partition that the updates come from.

        Returns:
            How many entries changed.

        Raises:
            ViewLostError: the view that was opened is gone; nothing was written.
        """
        keys: list[str | bytes] = [PROGRESS_KEY]
        arguments: list[str | bytes | int] = [self._generation, ORDER_WIDTH, ZONE_LENGTH_WIDTH]
        arguments += (CHANGES_KEPT, len(positions))
        for (topic, partition), offset in positions.items():
            arguments += (f"{topic}/{partition}", offset)
        now_ms = time.time_ns() // 1_000_000
        for update in updates:
            if update.order is None or update.expires_ms > now_ms:
                keys.append(update.key)
                arguments += (update.entry(), update.expires_ms)
        changed = int(self._apply(keys=keys, args=arguments))
        if changed < 0:
            raise ViewLostError
        return changed

    def check(self) -> None:
        """Say that the loader is alive.

        Raises:
            ViewLostError: the view that was opened is gone.
        """
        self.apply((), {})
        self._client.set(ALIVE_KEY, self._generation, px=ALIVE_FOR_MS)

    def purge(self, family: str, after: bytes, count: int) -> bytes:
        """Take members whose reading is gone out of the index of ``family``.

        Looks at ``count`` members that come after the member ``after`` (empty: from the first) and returns the
        last of them, empty where there are no more.
        """
        last: bytes = self._purge(
            keys=[members_key(family), zones_key(family)],
            args=[reading_key(family, ""), ORDER_WIDTH, HEADER_WIDTH, after, count, time.time_ns() // 1_000_000],
        )
        return last


def _position(name: str) -> Position:
    topic, _, partition = name.rpartition("/")
    return topic, int(partition)
