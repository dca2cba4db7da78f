"""The command ``publish``, ready to be registered with a Typer application."""

from typing import Annotated

import typer

from contracts import table
from resources.branches import publish as publish_branch
from resources.catalog import explained_outages, open_catalog
from resources.terminal import console
from settings import load_settings


def publish(
    name: Annotated[str, typer.Argument(metavar="TABLE", help="Namespace and name, as gold.weather_hourly.")],
    *,
    branch: Annotated[str, typer.Option(help="The branch, as the failed run names it.")],
) -> None:
    """Publish what a run wrote and did not publish because a check failed."""
    declared, settings = table(name), load_settings()
    with explained_outages(settings):
        snapshot = publish_branch(open_catalog(settings).load_table(declared.identifier), branch)
    console(stderr=False).print(f"{name} is now at snapshot {snapshot.snapshot_id}, as written on {branch}")
