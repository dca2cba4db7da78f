"""The commands ``table TABLE history``, ``table TABLE diff`` and ``table TABLE rollback``."""

import sys
from datetime import datetime
from typing import Annotated

import typer
from pydantic import BaseModel
from pyiceberg.table import Table as IcebergTable
from rich.filesize import decimal
from rich.table import Column
from rich.table import Table as ShownTable

from contracts import Table, table
from resources.catalog import explained_outages, open_catalog
from resources.history import HistoryEntry, WrittenBy, find_snapshot, history
from resources.rollback import Rollback, plan_rollback, refuse_streams, roll_back
from resources.snapshot_diff import Change, ColumnChange, Size, SnapshotDiff, diff
from resources.snapshots import committed_at
from resources.terminal import console
from settings import Settings, load_settings
from stack.errors import StackError

app = typer.Typer(
    name="table",
    help="One table through time: its snapshots, what differs between two, and going back to one.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object last on stdout.")]
SNAPSHOT_WIDTH = len(str(2**63))
JOB_DIGITS = 8
"""Of the id of a Flink job, in what people read; JSON has all."""
NOT_IN_MAIN = "not in main"
SNAPSHOT_HELP = "Id of a snapshot, as `history` shows it; or a branch or tag."


class HistoryAnswer(BaseModel):
    """What ``history --json`` prints."""

    table: str
    snapshots: list[HistoryEntry]


def _table_first(name: str) -> str:
    if name in {command.name for command in app.registered_commands}:
        raise typer.BadParameter(f"the table comes first: ./lakehouse table TABLE {name}")
    return name


@app.callback()
def choose(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(metavar="TABLE", help="Namespace and name, as gold.weather_hourly.", callback=_table_first),
    ],
) -> None:
    """One table through time: its snapshots, what differs between two, and going back to one."""
    context.obj = name


@app.command("history")
def show_history(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many of the newest.")] = 20,
    as_json: Json = False,
) -> None:
    """List snapshots, newest first, and who wrote them."""
    declared, settings = table(context.obj), load_settings()
    with explained_outages(settings):
        entries = history(_load(settings, declared), limit=limit)
    if as_json:
        typer.echo(HistoryAnswer(table=declared.identifier, snapshots=entries).model_dump_json())
        return
    console(stderr=False).print(_shown_history(entries) if entries else f"{declared.identifier} has no snapshot")


@app.command("diff")
def show_diff(
    context: typer.Context,
    start: Annotated[str, typer.Argument(metavar="SNAP", help=SNAPSHOT_HELP)],
    to: Annotated[str, typer.Argument(metavar="SNAP", help="Another; what it has is called added.")],
    as_json: Json = False,
) -> None:
    """Compare columns, files and days of two snapshots."""
    declared, settings = table(context.obj), load_settings()
    with explained_outages(settings):
        loaded = _load(settings, declared)
        found = diff(loaded, find_snapshot(loaded, start), find_snapshot(loaded, to))
    if as_json:
        typer.echo(found.model_dump_json())
        return
    _print_diff(found)


@app.command("rollback")
def rollback(
    context: typer.Context,
    to: Annotated[str, typer.Argument(metavar="SNAP", help=SNAPSHOT_HELP)],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Let readers see an earlier snapshot again (batch tables)."""
    declared = table(context.obj)
    refuse_streams(declared)
    settings = load_settings()
    with explained_outages(settings):
        loaded = _load(settings, declared)
        target = find_snapshot(loaded, to)
        planned = plan_rollback(loaded, declared, target)
        if not yes:
            _ask(planned, f"{_shown_time(committed_at(target))} UTC")
        done = roll_back(loaded, declared, target)
    if as_json:
        typer.echo(done.model_dump_json())
        return
    out = console(stderr=False)
    out.print(f"main of {done.table} is at snapshot {done.now} again; it was at {done.was}")
    if done.branches:
        out.print(f"built on what was taken back, and not to be published any more: {', '.join(done.branches)}")


def _load(settings: Settings, declared: Table) -> IcebergTable:
    return open_catalog(settings).load_table(declared.identifier)


def _ask(planned: Rollback, when: str) -> None:
    if not is_interactive():
        raise StackError("a rollback changes what readers see: confirm it with --yes where nobody can be asked")
    console().print(
        f"main of {planned.table} goes back from snapshot {planned.was} to {planned.now} of {when}, "
        f"before the last {len(planned.undone)}"
    )
    if not typer.confirm("Roll back?", err=True):
        raise StackError("nothing was changed")


def is_interactive() -> bool:
    """Whether somebody at a terminal can be asked."""
    return sys.stdin.isatty()


def _shown_history(entries: list[HistoryEntry]) -> ShownTable:
    has_watermark = any(entry.watermark is not None for entry in entries)
    shown = ShownTable(
        # whole: what stands here goes into diff and rollback
        Column("snapshot", min_width=SNAPSHOT_WIDTH, no_wrap=True),
        "committed (UTC)",
        Column("change", no_wrap=True),
        Column("rows", justify="right", no_wrap=True),
        "written by",
        *(["watermark"] if has_watermark else []),
        "refs",
        box=None,
    )
    for entry in entries:
        shown.add_row(
            entry.snapshot_id,
            _shown_time(entry.committed_at),
            _shown_change(entry),
            "" if entry.total_rows is None else f"{entry.total_rows:,}",
            _shown_writer(entry.written_by),
            *([_shown_time(entry.watermark)] if has_watermark else []),
            _shown_refs(entry),
        )
    return shown


def _shown_time(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


def _shown_change(entry: HistoryEntry) -> str:
    changes = [entry.operation]
    if entry.added_rows:
        changes.append(f"+{entry.added_rows:,}")
    if entry.deleted_rows:
        changes.append(f"-{entry.deleted_rows:,}")
    return " ".join(changes)


def _shown_writer(written_by: WrittenBy) -> str:
    if written_by.job_id is not None:
        return f"job {written_by.job_id[:JOB_DIGITS]} checkpoint {written_by.checkpoint_id}"
    if written_by.run_id is not None:
        return f"run {written_by.run_id}"
    return written_by.engine or ""


def _shown_refs(entry: HistoryEntry) -> str:
    refs = [*entry.branches, *(f"{tag} (tag)" for tag in entry.tags)]
    return ", ".join(refs if entry.in_main else [*refs, NOT_IN_MAIN])


def _print_diff(found: SnapshotDiff) -> None:
    out = console(stderr=False)
    out.print(f"{found.table} from snapshot {found.start} to {found.to}")
    for change in found.columns:
        out.print(f"column {_shown_column(change)}")
    if found.days:
        out.print(_shown_days(found))
    if found.only_rewritten:
        out.print("only files were rewritten (compaction): the rows are the same")
    elif not found.days:
        out.print("no file was added or removed")


def _shown_column(change: ColumnChange) -> str:
    match change.change:
        case Change.ADDED:
            return f"{change.column} added: {change.after}"
        case Change.DROPPED:
            return f"{change.column} dropped: {change.before}"
        case Change.MADE_OPTIONAL | Change.MADE_REQUIRED:
            return f"{change.column} {change.change}"
        case _:
            return f"{change.column} {change.change}: {change.before} -> {change.after}"


def _shown_days(found: SnapshotDiff) -> ShownTable:
    names = ("files added", "removed", "rows before", "after", "bytes before", "after")
    shown = ShownTable("day (UTC)", *(Column(name, justify="right") for name in names), box=None)
    for day in found.days:
        name = "" if day.day is None else day.day.isoformat()
        shown.add_row(name, str(day.files_added), str(day.files_removed), *_sizes(day.before, day.after))
    came, went = len(found.files_added), len(found.files_removed)
    shown.add_row("whole table", str(came), str(went), *_sizes(found.before, found.after))
    return shown


def _sizes(before: Size, after: Size) -> tuple[str, ...]:
    return f"{before.rows:,}", f"{after.rows:,}", decimal(before.bytes), decimal(after.bytes)
