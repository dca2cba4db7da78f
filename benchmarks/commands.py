"""The commands ``bench latency``, ``bench ingest``, ``bench api`` and ``bench batch``."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from resources.terminal import console
from settings import Settings, load_settings
from settings.model import home_folder
from stack.errors import StackError
from stack.local.supervisor import Supervisor

app = typer.Typer(name="bench", help="What is claimed about speed, measured here and now.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object last on stdout.")]


@app.command()
def latency(
    rate: Annotated[float, typer.Option(min=1, help="Events per second of all families together.")] = 20_000,
    duration: Annotated[float, typer.Option(min=1, help="Seconds that are measured.")] = 60,
    warm_up: Annotated[
        float,
        typer.Option(
            min=0,
            help="Seconds of the same load before: compilers take a quarter of a core in the first two minutes.",
        ),
    ] = 180,
    sensors: Annotated[int, typer.Option(min=3, help="Sensors of all families together.")] = 5_000,
    as_json: Json = False,
) -> None:
    """Measure the time from produce() to a value that the API can read, under a steady load."""
    from benchmarks.latency import measure_latency

    settings = _running_stack()
    # a termination ends the load as Ctrl-C does
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console().print(f"{warm_up:.0f} s of warm-up, then {duration:.0f} s of measuring")
    try:
        report = measure_latency(settings, rate=rate, duration_s=duration, warm_up_s=warm_up, sensors=sensors)
    except KeyboardInterrupt as interruption:
        raise StackError("interrupted: the load is stopped") from interruption
    _show(report, as_json=as_json)


@app.command()
def ingest(
    events: Annotated[int, typer.Option(min=10_000, help="Events of all families together.")] = 6_000_000,
    as_json: Json = False,
) -> None:
    """Measure how fast full topics are emptied: into bronze alone, and into all that the jobs write."""
    from benchmarks.ingest import measure_ingest

    _show(measure_ingest(_running_stack(), events=events, say=console().print), as_json=as_json)


@app.command()
def api(
    rows: Annotated[int, typer.Option(min=1, help="Rows of the large table.")] = 10_000_000,
    files: Annotated[int, typer.Option(min=1, help="Files of the large table.")] = 500,
    seconds: Annotated[float, typer.Option(min=0.3, help="How long each figure is measured.")] = 15,
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the large table for the next measurement.")] = False,
    soak_minutes: Annotated[
        float,
        typer.Option("--soak", min=0, help="Watch the memory under a mixed load for so many minutes."),
    ] = 0,
    as_json: Json = False,
) -> None:
    """Measure the API: requests per second beside a bare server's, times, and DuckDB on the same files."""
    from benchmarks.api import ApiBenchError, measure_api, open_bench
    from benchmarks.soak import soak

    settings, out = _running_stack(), console()
    # a termination removes the table as Ctrl-C does
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    bench = open_bench(settings, rows=rows, files=files, seconds=seconds, say=out.print)
    out.print(f"a table of {bench.layout.rows:,} rows in {files} files (--rows, --files), {seconds:g} s a figure")
    try:
        with _bar(out, "files of the large table", files) as progress:
            if soak_minutes:
                _show(soak(bench, minutes=soak_minutes, keep=keep, progress=progress), as_json=as_json)
                return
            report = measure_api(bench, keep=keep, progress=progress)
    except KeyboardInterrupt as interruption:
        raise StackError("interrupted: servers and table of the measurement are removed") from interruption
    _show(report, as_json=as_json)
    if not report.point.equal:
        raise ApiBenchError("the API and DuckDB do not agree on the rows of point queries")


@app.command()
def batch(
    days: Annotated[int, typer.Option(min=1, help="Days that are backfilled.")] = 30,
    events_per_day: Annotated[int, typer.Option(min=1000, help="Events a day of each family.")] = 1_000_000,
    as_json: Json = False,
) -> None:
    """Measure a backfill of gold by Spark against DuckDB on the same files, in an object store of its own."""
    from benchmarks.batch import BatchError, measure_batch
    from stack.cli import toolchain_folder
    from stack.local.isolated import store_alone
    from stack.toolchain.jars import fetch_jars
    from stack.toolchain.java import find_java

    out, toolchain = console(), toolchain_folder()
    # a termination ends the store as Ctrl-C does
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    fetch_jars(toolchain, out)
    try:
        with store_alone(home_folder() / "bench", toolchain, out) as settings:
            os.environ["JAVA_HOME"] = str(find_java(toolchain, settings.java_home, out))
            report = measure_batch(settings, days=days, events_per_day=events_per_day, say=out.print)
    except KeyboardInterrupt as interruption:
        raise StackError("interrupted: the store of the measurement is stopped and removed") from interruption
    _show(report, as_json=as_json)
    if not report.equal:
        raise BatchError(f"Spark and DuckDB do not agree: {', '.join(report.differing)}")


@contextmanager
def _bar(out: Console, title: str, total: int) -> Iterator[Callable[[int], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=out, transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)


def _running_stack() -> Settings:
    settings = load_settings()
    if not Supervisor(settings).is_running():
        raise StackError("the stack is down: ./lakehouse up starts it")
    return settings


def _show(report: BaseModel, *, as_json: bool) -> None:
    if as_json:
        typer.echo(report.model_dump_json())
        return
    table = Table("", "", box=None, show_header=False)
    for name, value in report.model_dump().items():
        shown = (
            ", ".join(f"{key} {part}" for key, part in value.items()) if isinstance(value, dict) else str(value)
        )
        table.add_row(name, shown)
    console(stderr=False).print(table)
