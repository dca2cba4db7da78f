"""The ``lakehouse`` command line."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from contracts import LakehouseError
from resources.terminal import console
from settings import Settings, load_settings
from settings.model import home_folder
from stack.errors import StackError

app = typer.Typer(
    name="lakehouse",
    help="A lakehouse for city sensors: Kafka, Flink, Iceberg, Spark, Dagster and an API as one platform.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object last on stdout.")]


def toolchain_folder() -> Path:
    """Folder of the environments, jars and Java; the entry point names it."""
    return Path(os.environ.get("LAKEHOUSE_TOOLCHAIN") or home_folder() / "toolchain")


def local_settings() -> Settings:
    """Settings of the stack that was started here.

    Raises:
        StackError: none was.
    """
    home = home_folder()
    if not _was_started(home):
        from stack.local.processes import processes_of

        if left := len(processes_of(home)):
            raise StackError(
                f"the settings in {home} are gone, {left} processes of it run: ./lakehouse down ends them"
            )
        raise StackError(f"no stack was ever started in {home}: run ./lakehouse up")
    return load_settings()


def _was_started(home: Path) -> bool:
    return (home / "local.env").exists() or "LAKEHOUSE_API_KEY" in os.environ


@app.command()
def up(
    free_ports: Annotated[
        bool,
        typer.Option("--free-ports", help="On the first start, take free ports instead of the usual ones."),
    ] = False,
) -> None:
    """Start the local stack and wait until all of it is ready."""
    from stack.local import lifecycle

    settings = lifecycle.up(home_folder(), toolchain_folder(), console(), choose_ports=free_ports)
    _print_addresses(settings)


@app.command()
def down() -> None:
    """Stop the local stack: the jobs with savepoints first, then every service."""
    from stack.local import lifecycle
    from stack.local.processes import end_processes

    home = home_folder()
    # a folder that was removed beneath a running stack has no settings, and so no jobs that could be resumed
    stopped = lifecycle.down(load_settings(), console()) if _was_started(home) else end_processes(home) > 0
    console().print("the stack is down" if stopped else "nothing was running")


@app.command()
def status(as_json: Json = False) -> None:
    """Show each service and job: address, state, memory, uptime, restarts."""
    from stack.local.status import status as look

    found = look(local_settings())
    if as_json:
        typer.echo(found.model_dump_json())
        return
    if not found.running:
        console().print(
            f"the supervisor is gone, {found.left_behind} processes that it started still run: ./lakehouse down "
            "ends them, ./lakehouse up starts anew"
            if found.left_behind
            else "the stack is down: ./lakehouse up starts it"
        )
        return
    table = Table("service", "state", "ready", "memory", "uptime", "restarts", "address", box=None)
    for service in found.services:
        restarts = f"{service.restarts} ({service.last_exit})" if service.restarts else "0"
        table.add_row(
            service.name,
            service.state,
            "yes" if service.ready else "no",
            f"{service.memory_mib or 0} MiB",
            f"{service.uptime_s or 0} s",
            restarts,
            service.address,
        )
    jobs = Table("job", "state", "uptime", "checkpoints", "lag", "id", box=None)
    for job in found.jobs:
        uptime, checkpoints = f"{job.uptime_s or 0} s", str(job.completed_checkpoints or 0)
        lag = "" if job.lag is None else f"{job.lag:,} records"
        jobs.add_row(job.family, job.state, uptime, checkpoints, lag, job.job_id or "")
    out = console(stderr=False)
    out.print(table)
    out.print(jobs)
    out.print(f"memory of all services: {found.memory_mib} MiB")


@app.command()
def logs(
    service: Annotated[str | None, typer.Argument(help="One service; all of them without it.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many last lines.")] = 50,
) -> None:
    """Show what services print."""
    folder = local_settings().home / "logs"
    known = sorted(path.stem for path in folder.glob("*.log"))
    if service is not None and service not in known:
        raise StackError(f"no log of {service!r}: choose one of {', '.join(known) or '(nothing has run yet)'}")
    files = [folder / f"{name}.log" for name in ([service] if service else known)]
    command: list[str | Path] = ["tail", "-n", str(lines), *(["-F"] if follow else []), *files]
    try:
        subprocess.run(command, check=False)
    except KeyboardInterrupt:
        return


@app.command()
def demo(  # noqa: PLR0917 the signature is the command line
    once: Annotated[
        bool, typer.Option("--once", help="End after the report; exit code 0 only if every count agrees.")
    ] = False,
    input_file: Annotated[
        Path | None, typer.Option("--input", help="Stream this file instead of simulated sensors.")
    ] = None,
    family: Annotated[str | None, typer.Option(help="Family of the sensors in --input.")] = None,
    mapping: Annotated[Path | None, typer.Option(help="How the columns of --input map to the family's.")] = None,
    free_ports: Annotated[
        bool, typer.Option("--free-ports", help="On the first start, take free ports instead of the usual ones.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Start the stack, stream sensors through every layer and hold each count against the ledger."""
    from stack.demo.run import DemoInput, run_demo

    own = None
    if input_file is not None:
        if family is None or mapping is None:
            raise StackError("--input needs --family and --mapping too: see examples/mappings")
        own = DemoInput(file=input_file, family=family, mapping=mapping)
    result = run_demo(home_folder(), toolchain_folder(), console(), own=own, once=once, choose_ports=free_ports)
    if as_json:
        typer.echo(result.model_dump_json())
    if not result.ok:
        raise StackError("the counts do not agree with the ledger: the table above shows where")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def test(
    context: typer.Context,
    suite: Annotated[str | None, typer.Argument(help="unit, integration or e2e; all of them without it.")] = None,
    full: Annotated[bool, typer.Option("--full", help="End-to-end tests on whole data sets.")] = False,
) -> None:
    """Run the static checks and the tests; further arguments (-k, -x ...) go to pytest."""
    from stack.testing import Suite, run_tests

    arguments = list(context.args)
    chosen = None
    if suite is not None and suite in set(Suite):
        chosen = Suite(suite)
    elif suite is not None:
        arguments.insert(0, suite)
    code = run_tests(chosen, toolchain_folder(), console(), full=full, pytest_arguments=arguments)
    raise typer.Exit(code)


def _print_addresses(settings: Settings) -> None:
    out = console()
    out.print("the stack is up:")
    out.print(f"  Dagster  {settings.dagster_url}")
    out.print(f"  API      {settings.api_url}/docs   (key: LAKEHOUSE_API_KEY in {settings.local_env})")
    out.print(f"  Flink    {settings.flink_url}")
    out.print(f"  Kafka    {settings.kafka_bootstrap_servers}")


ELSEWHERE = {
    "simulate": ("sources.commands", "simulate"),
    "replay": ("sources.commands", "replay"),
    "dead-letters": ("dead_letters.commands", "dead_letters"),
    "audit": ("audit.commands", "audit"),
    "publish": ("stack.publish", "publish"),
    "backfill": ("stack.backfill", "backfill"),
    "maintain": ("stack.maintain", "maintain"),
    "table": ("stack.tables", "app"),
    "chaos": ("stack.chaos.commands", "chaos"),
    "jobs": ("stack.jobs.commands", "app"),
    "keys": ("stack.keys", "app"),
    "bench": ("benchmarks.commands", "app"),
    "export": ("lakehouse_assets.airflow_export.commands", "app"),
}
"""Commands of other modules: what these import (Arrow, the Kafka client) takes longer than most commands do."""


def _register(asked: str | None) -> None:
    """Register the command that was asked for, or all where none of :data:`ELSEWHERE` was."""
    here = {command.callback.__name__ for command in app.registered_commands if command.callback}
    if asked in here:
        return
    for name, (module, attribute) in ELSEWHERE.items():
        if asked in ELSEWHERE and asked != name:
            continue
        found = getattr(importlib.import_module(module), attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found)
        else:
            app.command(name)(found)


def main() -> None:
    """Run the command line; an error that people can mend is one line on stderr and exit code 1."""
    _register(sys.argv[1] if len(sys.argv) > 1 else None)
    try:
        app(prog_name="./lakehouse")
    except LakehouseError as error:
        console().print(f"error: {error}", style="red", markup=False)
        sys.exit(1)
