"""The command ``maintain``, ready to be registered with a Typer application."""

import os
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.table import Table as ShownTable

from contracts import all_tables, table
from maintenance.run import TableMaintenance
from maintenance.run import maintain as run_maintenance
from resources.catalog import explained_outages, open_catalog
from resources.spark import open_interruptible_session
from resources.terminal import console
from settings import load_settings
from stack.errors import StackError
from stack.toolchain.java import find_java


class MaintenanceAnswer(BaseModel):
    """What ``--json`` prints."""

    tables: list[TableMaintenance]


def maintain(
    name: Annotated[str | None, typer.Argument(metavar="[TABLE]", help="One table; all without it.")] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is due.")] = False,
    orphans: Annotated[bool, typer.Option("--orphans", help="Remove files that no snapshot lists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object last on stdout.")] = False,
) -> None:
    """Join small files, expire old snapshots, count values, remove left-over files, as the contracts say."""
    chosen = all_tables() if name is None else (table(name),)
    settings = load_settings()
    err = console()
    # a JVM that PySpark starts is found by this alone
    os.environ["JAVA_HOME"] = str(find_java(settings.toolchain, settings.java_home, err))
    try:
        with err.status("looking at the tables") as status, explained_outages(settings):
            done = run_maintenance(
                open_catalog(settings),
                settings,
                chosen,
                lambda: open_interruptible_session(settings),
                dry_run=dry_run,
                orphans=orphans,
                say=status.update,
            )
    except KeyboardInterrupt as interruption:
        raise StackError("interrupted: what was committed stays, run it again for the rest") from interruption
    console(stderr=False).print(_shown(done, dry_run=dry_run))
    if as_json:
        typer.echo(MaintenanceAnswer(tables=done).model_dump_json())


def _shown(done: list[TableMaintenance], *, dry_run: bool) -> ShownTable:
    due = "due: " if dry_run else ""
    work = (f"{due}files joined", f"{due}snapshots expired", f"{due}statistics", f"{due}orphans")
    shown = ShownTable("table", *work, "files", "snapshots", "seconds", box=None)
    for one in done:
        after = one.after or one.plan
        joined = sum(part.small_files for part in one.plan.compact) if dry_run else one.rewritten_files
        expired, counted = one.plan.expire_snapshots, len(one.plan.statistics)
        counts = (joined, expired, counted, len(one.orphans), after.files, after.snapshots)
        shown.add_row(one.plan.table, *(f"{count:,}" for count in counts), f"{one.seconds:.1f}")
    return shown
