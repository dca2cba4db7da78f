"""The command ``audit``, ready to be registered with a Typer application."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table

from audit.errors import ViolationError
from audit.repair import RepairReport, repair
from audit.report import AuditReport
from audit.run import WAIT_S
from audit.run import audit as run_audit
from audit.sources import Progress
from contracts import Family, families, family
from resources.catalog import explained_outages
from resources.terminal import console
from settings import Settings, load_settings


class AuditAnswer(AuditReport):
    """What ``--json`` prints: the audit, and the repairs before it."""

    repairs: list[RepairReport] | None = None


def audit(
    name: Annotated[str | None, typer.Argument(metavar="[FAMILY]", help="One family; all without it.")] = None,
    *,
    full: Annotated[bool, typer.Option("--full", help="Read everything, not only what came since.")] = False,
    mend: Annotated[
        bool, typer.Option("--repair", help="Remove rows that were committed twice, then audit all.")
    ] = False,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds that the collector and the tables may be behind.")
    ] = WAIT_S,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object last on stdout.")] = False,
) -> None:
    """Prove that every published event is in its table exactly once, or name the offsets that are not."""
    chosen = families() if name is None else (family(name),)
    settings = load_settings()
    out = console()
    with _progress_bar(out) as progress, explained_outages(settings):
        if mend:
            answer = _repair(settings, chosen, wait, progress)
        else:
            answer = AuditAnswer(**dict(run_audit(settings, chosen, full=full, wait_s=wait, progress=progress)))
    _show(out, answer)
    if as_json:
        typer.echo(answer.model_dump_json())
    if not answer.ok:
        raise ViolationError(
            "; ".join(f"{table.table}: {line}" for table in answer.tables for line in table.violations())
        )


def _repair(settings: Settings, chosen: tuple[Family, ...], wait: float, progress: Progress) -> AuditAnswer:
    repairs = [repair(settings, member, wait_s=wait, progress=progress) for member in chosen]
    proofs = [done.proof for done in repairs]
    return AuditAnswer(tables=proofs, seconds=sum(proof.seconds for proof in proofs), repairs=repairs)


def _show(out: Console, answer: AuditAnswer) -> None:
    for done in answer.repairs or ():
        removed = f"removed {done.removed_rows:,} doubled rows" if done.snapshot_id else "nothing was doubled"
        out.print(f"{done.table}: {removed}", markup=False)
    columns = ("table", "proven", "rows", "checked", "dead letters", "control", "missing", "doubled")
    shown = Table(*columns, "seconds", "waited", box=None)
    for table in answer.tables:
        counts = (table.rows, table.checked_rows, table.dead_letters, table.control_records)
        found = (table.missing, table.doubled)
        shown.add_row(
            table.table,
            "yes" if table.ok else "NO",
            *(f"{count:,}" for count in counts + found),
            f"{table.seconds:.2f}",
            f"{table.waited_seconds:.2f}",
        )
    out.print(shown)


@contextmanager
def _progress_bar(out: Console) -> Iterator[Progress]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with ProgressBar(*columns, console=out, transient=True) as bar:
        task = bar.add_task("", total=None)

        def update(stage: str, done: int, total: int, /) -> None:
            bar.update(task, description=stage, completed=done, total=total or None)

        yield update
