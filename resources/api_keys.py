"""API keys: who may read which tables, kept as hashes in one file that API and command line share."""

import fcntl
import hashlib
import os
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from contracts import LakehouseError
from settings import parse_rate

PREFIX = "lk"
ID_BYTES = 4
SECRET_BYTES = 32
"""As many random bits as the hash has: guessing is hopeless, so a slow hash would protect nothing more
(NIST SP 800-63B, 5.1.1.2 asks for one where people choose the secret)."""
EVERY_TABLE = "*"


class ApiKeysError(LakehouseError):
    """The file of keys is not readable, or has no such key."""


class Action(StrEnum):
    """What a key may do with its tables."""

    READ = "read"
    """Rows, aggregates, finished and running windows."""
    LIVE = "live"
    """The newest readings and the stream of changes."""


class ApiKey(BaseModel):
    """One key; its secret was shown once, when it was made.

    ``tables`` are names of tables with the wildcards of :mod:`fnmatch`, as ``gold.*``. Without a ``rate`` that of
    the settings holds.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    sha256: str
    tables: tuple[str, ...] = (EVERY_TABLE,)
    actions: tuple[Action, ...] = tuple(Action)
    rate: str | None = None
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    @field_validator("rate")
    @classmethod
    def _refuse_other_rates(cls, rate: str | None) -> str | None:
        if rate is not None:
            parse_rate(rate)
        return rate

    def is_valid(self, now: datetime) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def may_see(self, table: str) -> bool:
        """Whether it may know of the table."""
        return _is_among(table, self.tables)

    def may(self, action: Action, table: str) -> bool:
        """Whether it may do that with the table."""
        return action in self.actions and self.may_see(table)

    def refusal(self, action: Action | None, table: str) -> str:
        """Why it may not do that with the table, or see it, and what to change."""
        wanted = f"--table {table}" + ("" if action is None else f" --action {action}")
        return (
            f"key {self.id} may {' and '.join(self.actions)} {', '.join(self.tables)}: this needs one that was "
            f"made with ./lakehouse keys create NAME {wanted}"
        )


class _Content(BaseModel):
    keys: list[ApiKey] = []


def issue(
    name: str,
    now: datetime,
    *,
    tables: Iterable[str] = (EVERY_TABLE,),
    actions: Iterable[Action] = tuple(Action),
    rate: str | None = None,
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Make a key; returns what is kept of it, and the text that its user sends, which is kept nowhere.

    Raises:
        ValueError: ``rate`` is none.
    """
    identifier = secrets.token_hex(ID_BYTES)
    text = f"{PREFIX}_{identifier}_{secrets.token_urlsafe(SECRET_BYTES)}"
    key = ApiKey(
        id=identifier,
        name=name,
        sha256=_hash(text),
        tables=tuple(tables),
        actions=tuple(actions),
        rate=rate,
        created_at=now,
        expires_at=expires_at,
    )
    return key, text


class KeyFile:
    """The file of keys; a change is written whole and put in its place, so that a reader sees one or the other."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[ApiKey]:
        """Return all keys, also those that are no longer valid; none where there is no file.

        Raises:
            ApiKeysError: the file is not readable.
        """
        try:
            return _Content.model_validate_json(self._path.read_bytes()).keys
        except FileNotFoundError:
            return []
        except (OSError, ValidationError) as error:
            raise ApiKeysError(
                f"{self._path} is not readable ({type(error).__name__}): restore it, or remove it and make "
                "the keys anew with ./lakehouse keys create"
            ) from error

    def add(self, key: ApiKey) -> None:
        """Keep another key.

        Raises:
            ApiKeysError: the file is not readable.
        """
        self._change(lambda keys: [*keys, key])

    def replace(self, identifier: str, change: Callable[[ApiKey], ApiKey]) -> ApiKey:
        """Change one key, and return what became of it.

        Raises:
            ApiKeysError: there is no such key, or the file is not readable.
        """
        changed: list[ApiKey] = []

        def change_one(keys: list[ApiKey]) -> list[ApiKey]:
            changed.extend(change(key) for key in keys if key.id == identifier)
            if not changed:
                raise ApiKeysError(f"there is no key {identifier!r}: ./lakehouse keys list shows them")
            return [changed[0] if key.id == identifier else key for key in keys]

        self._change(change_one)
        return changed[0]

    def version(self) -> tuple[int, int, int] | None:
        """What differs between two contents of the file; ``None`` while there is none."""
        with suppress(OSError):
            stat = self._path.stat()
            return stat.st_ino, stat.st_mtime_ns, stat.st_size
        return None

    def _change(self, change: Callable[[list[ApiKey]], list[ApiKey]]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            content = _Content(keys=change(self.read()))
            partial = self._path.with_suffix(".part")
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(content.model_dump_json(indent=2))
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._path)


class KeyRing:
    """Finds the key that was sent; reads the file again when it has changed: a revoked key is refused at once."""

    def __init__(self, file: KeyFile) -> None:
        self._file = file
        self._version: tuple[int, int, int] | None = None
        self._by_hash: dict[str, ApiKey] = {}

    def find(self, text: str, now: datetime) -> ApiKey | None:
        """Return the valid key whose secret this is, ``None`` where there is none.

        Raises:
            ApiKeysError: the file is not readable.
        """
        if (version := self._file.version()) != self._version:
            self._by_hash = {key.sha256: key for key in self._file.read()}
            self._version = version
        # what a lookup tells by its time is about hashes, which say nothing about secrets
        key = self._by_hash.get(_hash(text))
        return key if key is not None and key.is_valid(now) else None


@lru_cache(maxsize=4096)
def _is_among(table: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(table, pattern) for pattern in patterns)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
