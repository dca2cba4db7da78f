"""The commands ``keys``, ready to be registered with a Typer application."""

from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.table import Table as ShownTable

from contracts import served_tables
from resources.api_keys import EVERY_TABLE, Action, ApiKey, KeyFile, issue
from resources.terminal import console
from settings import load_settings, parse_rate
from stack.errors import StackError

app = typer.Typer(name="keys", help="Keys of the API: who may read which tables.", no_args_is_help=True)

DEFAULT_DAYS = 90
DEFAULT_OVERLAP_H = 24.0

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object last on stdout.")]
Identifier = Annotated[str, typer.Argument(metavar="ID", help="As `keys list` shows it.")]


class ShownKey(BaseModel):
    """What ``--json`` prints of a key; ``key`` is there only when it was just made."""

    id: str
    name: str
    tables: tuple[str, ...]
    actions: tuple[Action, ...]
    rate: str | None
    """``None`` where that of the settings holds."""
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    valid: bool
    key: str | None = None


class KeysAnswer(BaseModel):
    """What ``keys list --json`` prints."""

    keys: list[ShownKey]


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is, or what for.")],
    *,
    tables: Annotated[
        list[str] | None, typer.Option("--table", help="A table, as gold.city_hourly, or several, as 'gold.*'.")
    ] = None,
    actions: Annotated[list[Action] | None, typer.Option("--action", help="What it may do.")] = None,
    rate: Annotated[
        str | None,
        typer.Option(help="How many requests, as 600/minute, or unlimited; by default LAKEHOUSE_API_RATE_LIMIT."),
    ] = None,
    days: Annotated[int, typer.Option(min=0, help="How long it is valid; 0 is for ever.")] = DEFAULT_DAYS,
    as_json: Json = False,
) -> None:
    """Make a key and show it, once: only its hash is kept."""
    now = datetime.now(UTC)
    for pattern in tables or ():
        if not any(fnmatchcase(table.identifier, pattern) for table in served_tables()):
            names = ", ".join(table.identifier for table in served_tables())
            raise StackError(f"--table {pattern!r} is none of the tables that are served: {names}")
    if rate is not None:
        try:
            parse_rate(rate)
        except ValueError as error:
            raise StackError(f"--rate: {error}") from error
    key, text = issue(
        name,
        now,
        tables=tables or (EVERY_TABLE,),
        actions=actions or tuple(Action),
        rate=rate,
        expires_at=now + timedelta(days=days) if days else None,
    )
    _file().add(key)
    _show_new(key, text, as_json=as_json)


@app.command("list")
def list_keys(*, as_json: Json = False) -> None:
    """Show the keys, but never a secret."""
    now = datetime.now(UTC)
    keys = _file().read()
    if as_json:
        typer.echo(KeysAnswer(keys=[_shown(key, now) for key in keys]).model_dump_json())
        return
    shown = ShownTable("id", "name", "tables", "actions", "rate", "expires", "state", box=None)
    for key in keys:
        state = "valid" if key.is_valid(now) else "expired" if key.revoked_at is None else "revoked"
        expires = "never" if key.expires_at is None else f"{key.expires_at:%Y-%m-%d %H:%M}"
        shown.add_row(
            key.id, key.name, " ".join(key.tables), " ".join(key.actions), key.rate or "default", expires, state
        )
    console(stderr=False).print(shown)


@app.command()
def revoke(identifier: Identifier) -> None:
    """Make a key invalid, from the next request on."""
    now = datetime.now(UTC)
    key = _file().replace(identifier, lambda key: key.model_copy(update={"revoked_at": key.revoked_at or now}))
    console(stderr=False).print(f"revoked {key.id} ({key.name})", markup=False)


@app.command()
def rotate(
    identifier: Identifier,
    *,
    overlap_hours: Annotated[
        float, typer.Option(min=0, help="How long the old key is still valid.")
    ] = DEFAULT_OVERLAP_H,
    as_json: Json = False,
) -> None:
    """Make another key that may do the same, valid for as long, and let the old one expire."""
    now = datetime.now(UTC)
    file = _file()
    old = next((key for key in file.read() if key.id == identifier and key.is_valid(now)), None)
    if old is None:
        raise StackError(f"no valid key is {identifier!r}: ./lakehouse keys list shows them")
    expires_at = None if old.expires_at is None else now + (old.expires_at - old.created_at)
    key, text = issue(old.name, now, tables=old.tables, actions=old.actions, rate=old.rate, expires_at=expires_at)
    file.add(key)
    end = now + timedelta(hours=overlap_hours)
    file.replace(identifier, lambda key: key.model_copy(update={"expires_at": min(end, key.expires_at or end)}))
    _show_new(key, text, as_json=as_json)


def _file() -> KeyFile:
    return KeyFile(load_settings().api_keys_file)


def _show_new(key: ApiKey, text: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(_shown(key, key.created_at).model_copy(update={"key": text}).model_dump_json())
        return
    out = console(stderr=False)
    out.print(text, markup=False, highlight=False, soft_wrap=True)
    expires = "does not expire" if key.expires_at is None else f"expires {key.expires_at:%Y-%m-%d %H:%M} UTC"
    console().print(f"key {key.id} ({key.name}) {expires}; it is shown only now", markup=False)


def _shown(key: ApiKey, now: datetime) -> ShownKey:
    return ShownKey(**key.model_dump(exclude={"sha256"}), valid=key.is_valid(now))
