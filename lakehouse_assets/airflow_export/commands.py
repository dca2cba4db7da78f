"""The commands ``export``, ready to be registered with a Typer application."""

import warnings
from pathlib import Path
from typing import Annotated

import typer

from lakehouse_assets.airflow_export.files import difference, write
from lakehouse_assets.airflow_export.model import AirflowExportError, Export, GroupBy
from lakehouse_assets.airflow_export.pools import pool_limits
from lakehouse_assets.airflow_export.read import read_export
from lakehouse_assets.airflow_export.render import AirflowVersion, render
from resources.terminal import console

EXAMPLE_URL = "http://127.0.0.1:3000"
"""Dagster's address in the example connection: the same everywhere, so that equal graphs give equal files."""

app = typer.Typer(name="export", help="Write the platform's schedules for other schedulers.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Write the platform's schedules for other schedulers."""


@app.command()
def airflow(
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder to write to.")] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            "--check", metavar="DIR", help="Write nothing; show how this folder differs, exit code 1 if so."
        ),
    ] = None,
    *,
    select: Annotated[
        str | None, typer.Option(metavar="SELECTION", help="Assets, in Dagster's syntax: 'key:\"gold/*\"'.")
    ] = None,
    group_by: Annotated[GroupBy, typer.Option(help="What one task is.")] = GroupBy.ASSET,
    version: Annotated[AirflowVersion, typer.Option("--airflow", help="Major version.")] = AirflowVersion.THREE,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse to export if anything has no equivalent in Airflow.")
    ] = False,
) -> None:
    """Write the schedules and jobs as Airflow DAGs whose tasks call a running Dagster."""
    if (out is None) == (check is None):
        raise AirflowExportError("say where: --out DIR writes, --check DIR compares")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Dagster's, about features in beta
        from lakehouse_assets.definitions import defs  # imports all of Dagster

        export = read_export(defs, group_by=group_by, select=select, limits=pool_limits())
    if strict and export.refusals:
        raise AirflowExportError(_refused(export))
    files = render(export, version, EXAMPLE_URL)
    if check is not None:
        if found := difference(files, check):
            typer.echo(found, nl=False)
            raise AirflowExportError(
                f"{check} is not current: ./lakehouse export airflow --out {check} writes it again"
            )
        console().print(f"{check} is current")
        return
    assert out is not None  # noqa: S101  checked above
    removed = write(files, out)
    err = console()
    err.print(f"{len(export.dags)} DAGs in {out}; {len(export.refusals)} refusals: see {out}/REPORT.md")
    for name in removed:
        err.print(f"removed {name}: its schedule is gone")


def _refused(export: Export) -> str:
    named = "\n".join(f"  {each.kind} {each.name}: {each.reason}" for each in export.refusals)
    if export.mappable:
        selection = " or ".join(f'key:"{asset}"' for asset in export.mappable)
        fix = f"what has one: --select '{selection}'"
    else:
        fix = "each asset is among them: without --strict the report lists them, with what comes nearest"
    return f"{len(export.refusals)} things have no equivalent in Airflow:\n{named}\n{fix}"
