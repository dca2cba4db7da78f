"""The command ``backfill``, ready to be registered with a Typer application."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from contracts import BATCH_WRITERS, Table, all_tables, table
from resources.dagster_client import DagsterClient, RunFailedError
from resources.terminal import console
from settings import load_settings
from stack.errors import StackError

DAYS_PER_RUN = 31
RUN_PATIENCE_S = 6 * 3600.0
WORDS = {"today": 0, "yesterday": 1}


class BackfillAnswer(BaseModel):
    """What ``--json`` prints; each run is one range of days in one Spark session."""

    asset: str
    first: date
    last: date
    runs: list[str]


def _day(text: str) -> date:
    if text in WORDS:
        return datetime.now(UTC).date() - timedelta(days=WORDS[text])
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no day: write 2026-11-01, yesterday or today") from error


def backfill(
    asset: Annotated[str, typer.Argument(metavar="ASSET", help="A batch table, as gold/traffic_hourly.")],
    *,
    first: Annotated[date, typer.Option("--from", parser=_day, metavar="DAY", help="First day, in UTC.")],
    last: Annotated[date | None, typer.Option("--to", parser=_day, metavar="DAY", help="Last day.")] = None,
    upstream: Annotated[
        bool, typer.Option(help="Compute the same days of the batch tables that it is derived from, too.")
    ] = True,
    days_per_run: Annotated[int, typer.Option(min=1, help="Days that one run computes.")] = DAYS_PER_RUN,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object last on stdout.")] = False,
) -> None:
    """Compute days of a batch table again in Dagster, oldest first, and wait until they are published."""
    declared, last = _batch_table(asset), last or first
    if last < first:
        raise StackError(f"--to {last} is before --from {first}")
    tables = [*_batch_upstream(declared), declared] if upstream else [declared]
    keys = [(str(each.layer), each.name) for each in tables]
    settings = load_settings()
    runs: list[str] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with DagsterClient(settings.dagster_url) as client, Progress(*columns, console=console()) as progress:
        task = progress.add_task(declared.identifier, total=(last - first).days + 1)
        for begin, end in _ranges(first, last, days_per_run):
            progress.update(task, description=f"{declared.identifier} {begin} to {end}")
            run_id = client.launch_assets(keys, first=begin, last=end)
            runs.append(run_id)
            try:
                client.wait(run_id, timeout_s=RUN_PATIENCE_S)
            except RunFailedError as error:
                published = f"days before {begin} are published, " if begin > first else ""
                raise StackError(
                    f"{error}; {published}go on with: ./lakehouse backfill {asset} --from {begin} --to {last}"
                ) from error
            except KeyboardInterrupt as interruption:
                raise StackError(
                    f"no longer waiting, but the run of {begin} to {end} goes on; see it, or end it, at "
                    f"{settings.dagster_url}/runs/{run_id}"
                ) from interruption
            progress.advance(task, (end - begin).days + 1)
    if as_json:
        answer = BackfillAnswer(asset=asset, first=first, last=last, runs=runs)
        typer.echo(answer.model_dump_json())


def _batch_table(asset: str) -> Table:
    declared = table(asset.replace("/", "."))
    if declared.writer not in BATCH_WRITERS:
        batch = ", ".join(f"{t.layer}/{t.name}" for t in all_tables() if t.writer in BATCH_WRITERS)
        raise StackError(f"{asset} is written all the time, by {declared.writer}: batch tables are {batch}")
    return declared


def _batch_upstream(declared: Table) -> list[Table]:
    """The batch tables that ``declared`` is derived from, those furthest up first."""
    batch = {each.identifier: each for each in all_tables() if each.writer in BATCH_WRITERS}
    found: dict[str, Table] = {}
    for above in (batch[origin] for origin in declared.derived_from if origin in batch):
        found |= {each.identifier: each for each in (*_batch_upstream(above), above)}
    return list(found.values())


def _ranges(first: date, last: date, days: int) -> Iterator[tuple[date, date]]:
    while first <= last:
        end = min(last, first + timedelta(days=days - 1))
        yield first, end
        first = end + timedelta(days=1)
