"""The command ``chaos``, ready to be registered with a Typer application."""

import signal
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from resources.terminal import console
from settings.model import home_folder
from stack.chaos.errors import ScenarioError
from stack.chaos.report import ChaosReport
from stack.errors import StackError

if TYPE_CHECKING:
    from stack.chaos.scenarios.model import Scenario


def chaos(
    name: Annotated[
        str | None, typer.Argument(metavar="[SCENARIO]", help="One scenario, after the control; all without it.")
    ] = None,
    *,
    seed: Annotated[int, typer.Option(min=0, help="Decides the events and when faults strike.")] = 1,
    quick: Annotated[
        bool, typer.Option("--quick", help="The shortest form; without SCENARIO, a few of them.")
    ] = False,
    only_list: Annotated[bool, typer.Option("--list", help="Show the scenarios, run none.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object last on stdout.")] = False,
) -> None:
    """Break a stack of its own in many ways, and prove that no event is lost or doubled."""
    if only_list:
        _list(as_json=as_json)
        return
    from stack.chaos.run import run_chaos
    from stack.cli import toolchain_folder
    from stack.local.isolated import own_environment

    out = console()
    folder, toolchain = home_folder() / "chaos", toolchain_folder()
    # a termination ends the stack as Ctrl-C does
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with own_environment(folder, toolchain):
        report = run_chaos(folder, toolchain, _chosen(name, quick=quick), out, seed=seed, quick=quick)
    _show(out, report)
    if as_json:
        typer.echo(report.model_dump_json())
    if not report.ok:
        failed = ", ".join(scenario for scenario, result in report.scenarios.items() if not result.ok)
        raise ScenarioError(f"{failed} failed; the stacks were kept in {', '.join(report.kept) or 'no folder'}")


def _chosen(name: str | None, *, quick: bool) -> "list[Scenario]":
    from stack.chaos.scenarios import QUICK, SCENARIOS

    known = {scenario.name: scenario for scenario in SCENARIOS}
    if name is not None and name not in known:
        raise StackError(f"no scenario {name!r}: choose one of {', '.join(known)}")
    wanted = (QUICK if quick else known) if name is None else ("control", name)
    return [known[scenario] for scenario in dict.fromkeys(wanted)]


def _list(*, as_json: bool) -> None:
    from stack.chaos.scenarios import SCENARIOS

    if as_json:
        import orjson

        typer.echo(orjson.dumps({scenario.name: scenario.description for scenario in SCENARIOS}).decode())
        return
    table = Table("scenario", "what happens", box=None)
    for scenario in SCENARIOS:
        table.add_row(scenario.name, scenario.description)
    console(stderr=False).print(table)


def _show(out: Console, report: ChaosReport) -> None:
    columns = ("scenario", "holds", "acknowledged", "bronze", "dead letters", "missing", "doubled", "late")
    shown = Table(*columns, "recovery", "seconds", box=None)
    for name, result in report.scenarios.items():
        holds = "skipped" if result.skipped else "yes" if result.ok else "NO"
        counts = (
            result.acknowledged,
            result.rows,
            result.dead_letters,
            result.missing,
            result.doubled,
            result.late,
        )
        recovery = "" if result.recovery_s is None else f"{result.recovery_s:.1f} s"
        shown.add_row(name, holds, *(f"{count:,}" for count in counts), recovery, f"{result.seconds:.0f}")
    out.print(shown)
