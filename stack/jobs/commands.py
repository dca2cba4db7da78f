"""The commands ``jobs``, ``jobs stop``, ``jobs start``, ``jobs restart`` and ``jobs upgrade``."""

from typing import Annotated

import typer
from rich.table import Column, Table

from contracts import Family, all_tables, families, family
from resources.terminal import console
from settings import Settings, load_settings
from stack.errors import StackError
from stack.jobs.flink_rest import FlinkRest
from stack.jobs.operations import start_jobs, stop_jobs
from stack.jobs.state import load_state
from stack.local.supervisor import Supervisor

CONTRACT_READERS = ("dagster-code", "api", "dead-letters", "hot-view")
"""Services that hold contracts in memory."""

app = typer.Typer(
    name="jobs", help="The Flink jobs: what runs, and stopping, starting and upgrading it.", rich_markup_mode=None
)

FamilyArgument = Annotated[str | None, typer.Argument(help="One family; all of them without it.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object last on stdout.")]


@app.callback(invoke_without_command=True)
def show(context: typer.Context, as_json: Json = False) -> None:
    """Show the job of each family, and where it would continue."""
    if context.invoked_subcommand is not None:
        return
    from stack.jobs.checkpoints import newest_restore_point

    settings = _running_stack()
    listed = {job.job_id: job for job in FlinkRest(settings.flink_url).jobs()}
    rows = []
    for member in families():
        state = load_state(settings, member.name)
        job = listed.get(state.job_id or "")
        rows.append(
            {
                "family": member.name,
                "job_id": state.job_id,
                "state": "stopped" if state.stopped else job.state.lower() if job else "missing",
                "restored_from": state.restored_from,
                "continues_from": newest_restore_point(settings, state),
            }
        )
    if as_json:
        import orjson

        typer.echo(orjson.dumps({"jobs": rows}))
        return
    # whole: what stands here goes into --from
    names = ("family", "state", "job", "continues from")
    table = Table(*(Column(name, overflow="fold") for name in names), box=None)
    for row in rows:
        table.add_row(row["family"], row["state"], row["job_id"], row["continues_from"] or "the beginning")
    console(stderr=False).print(table)


@app.command()
def stop(family_name: FamilyArgument = None) -> None:
    """Stop jobs with a savepoint; they stay stopped until they are started."""
    stop_jobs(_running_stack(), _chosen(family_name), _say, stay_stopped=True)


@app.command()
def start(
    family_name: FamilyArgument = None,
    restore_from: Annotated[
        str | None, typer.Option("--from", help="Savepoint or checkpoint; by default the newest there is.")
    ] = None,
    allow_rewind: Annotated[
        bool,
        typer.Option("--allow-rewind", help="Also from one that is older than the tables; audits afterwards."),
    ] = False,
) -> None:
    """Start jobs where they ended."""
    settings, chosen = _running_stack(), _chosen(family_name)
    if restore_from is not None and len(chosen) > 1:
        raise StackError("--from needs a family: a savepoint is of one job")
    start_jobs(settings, chosen, restore_from=restore_from, allow_rewind=allow_rewind)
    if allow_rewind:
        from audit.commands import audit

        for member in chosen:
            audit(member.name, full=True)


@app.command()
def restart(family_name: FamilyArgument = None) -> None:
    """Stop jobs with a savepoint and start them from it."""
    settings, chosen = _running_stack(), _chosen(family_name)
    stop_jobs(settings, chosen, _say, stay_stopped=True)
    start_jobs(settings, chosen)


@app.command()
def upgrade(family_name: FamilyArgument = None) -> None:
    """Roll out changed contracts: tables, jobs, and the services that read them."""
    from stack.jobs.upgrade import upgrade_jobs

    settings = _running_stack()
    upgrade_jobs(settings, _chosen(family_name), all_tables(), _say)
    supervisor = Supervisor(settings)
    for name in CONTRACT_READERS:
        supervisor.stop_service(name)
        supervisor.start_service(name)
        _say(f"restarted {name}")


def _chosen(name: str | None) -> tuple[Family, ...]:
    return families() if name is None else (family(name),)


def _running_stack() -> Settings:
    settings = load_settings()
    if not Supervisor(settings).is_running():
        raise StackError("the stack is down: ./lakehouse up starts it")
    return settings


def _say(line: str) -> None:
    console().print(line)
