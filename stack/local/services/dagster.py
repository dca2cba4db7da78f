"""Dagster's webserver and daemon, with their state below ``<home>/dagster``."""

import shutil
from pathlib import Path

from settings import Settings
from settings.model import ROOT
from stack.local.http_probe import answers, get_json
from stack.local.service import Service, Stage


def dagster_environment(settings: Settings, java_home: Path) -> dict[str, str]:
    """Environment of every Dagster process; ``JAVA_HOME`` is for the Spark assets."""
    return {
        "DAGSTER_HOME": str(settings.home / "dagster"),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "JAVA_HOME": str(java_home),
    }


def webserver(settings: Settings, java_home: Path) -> Service:
    """The web interface and GraphQL endpoint."""
    return Service(
        name="dagster-webserver",
        stage=Stage.APPLICATION,
        command=(
            str(settings.toolchain / "main" / "bin" / "dagster-webserver"),
            "--host",
            "127.0.0.1",
            "--port",
            str(settings.ports.dagster),
            "--workspace",
            str(ROOT / "workspace.yaml"),
        ),
        environment=dagster_environment(settings, java_home),
        address=settings.dagster_url,
        ports=(settings.ports.dagster,),
        is_ready=lambda: answers(f"{settings.dagster_url}/server_info"),
    )


def daemon(settings: Settings, java_home: Path) -> Service:
    """The daemon that runs schedules, sensors and the run queue; ready when its heartbeat is healthy."""
    return Service(
        name="dagster-daemon",
        stage=Stage.APPLICATION,
        command=(
            str(settings.toolchain / "main" / "bin" / "dagster-daemon"),
            "run",
            "--workspace",
            str(ROOT / "workspace.yaml"),
        ),
        environment=dagster_environment(settings, java_home),
        address="no port of its own",
        is_ready=lambda: _daemons_are_healthy(settings),
    )


def prepare(settings: Settings) -> None:
    """Put the instance configuration where ``DAGSTER_HOME`` must hold it."""
    folder = settings.home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ROOT / "dagster.yaml", folder / "dagster.yaml")


def _daemons_are_healthy(settings: Settings) -> bool:
    query = "{instance{daemonHealth{allDaemonStatuses{required healthy}}}}"
    body = get_json(f"{settings.dagster_url}/graphql?query={query}")
    if not isinstance(body, dict) or not body.get("data"):
        return False
    statuses = body["data"]["instance"]["daemonHealth"]["allDaemonStatuses"]
    return all(status["healthy"] for status in statuses if status["required"])
