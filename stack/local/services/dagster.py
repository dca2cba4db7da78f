"""Dagster's code server, webserver and daemon, with their state below ``<home>/dagster``."""

import os
import shutil
import subprocess
from pathlib import Path

import yaml

from resources.dagster_client import LOCATION
from resources.spark import POOL, POOL_LIMIT
from settings import Settings
from settings.model import ROOT
from stack.errors import StackError
from stack.local.files import write_private
from stack.local.http_probe import get_json
from stack.local.local_env import is_free
from stack.local.priority import BACKGROUND
from stack.local.service import Service, Stage


def dagster_environment(settings: Settings, java_home: Path) -> dict[str, str]:
    """Environment of every Dagster process; ``JAVA_HOME`` is for the Spark assets."""
    return {
        "DAGSTER_HOME": str(settings.home / "dagster"),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "JAVA_HOME": str(java_home),
    }


def code_server(settings: Settings, java_home: Path) -> Service:
    """The process that holds the assets; a run is a child of it. One serves the webserver and the daemon."""
    return Service(
        name="dagster-code",
        stage=Stage.APPLICATION,
        command=(
            str(settings.toolchain / "main" / "bin" / "dagster"),
            "api",
            "grpc",
            "--host",
            "127.0.0.1",
            "--port",
            str(settings.ports.dagster_code),
            "--module-name",
            "lakehouse_assets.definitions",
            "--location-name",
            LOCATION,
        ),
        environment=dagster_environment(settings, java_home),
        address=f"127.0.0.1:{settings.ports.dagster_code} (gRPC)",
        ports=(settings.ports.dagster_code,),
        nice=BACKGROUND,
        is_ready=lambda: not is_free(settings.ports.dagster_code),
    )


def webserver(settings: Settings, java_home: Path) -> Service:
    """The web interface and GraphQL endpoint; ready when it has loaded the assets."""
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
            str(_workspace_file(settings)),
        ),
        environment=dagster_environment(settings, java_home),
        address=settings.dagster_url,
        ports=(settings.ports.dagster,),
        is_ready=lambda: _location_is_loaded(settings),
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
            str(_workspace_file(settings)),
        ),
        environment=dagster_environment(settings, java_home),
        address="no port of its own",
        nice=BACKGROUND,
        is_ready=lambda: _daemons_are_healthy(settings),
    )


def prepare(settings: Settings) -> None:
    """Put the instance configuration where ``DAGSTER_HOME`` must hold it, and point at the code server."""
    folder = settings.home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ROOT / "dagster.yaml", folder / "dagster.yaml")
    server = {"host": "127.0.0.1", "port": settings.ports.dagster_code, "location_name": LOCATION}
    write_private(_workspace_file(settings), yaml.safe_dump({"load_from": [{"grpc_server": server}]}))
    _create_storage(settings)


def _create_storage(settings: Settings) -> None:
    """Create the instance's databases before its processes start: two that do so at once spoil them.

    The daemon takes the default limit of a pool only after it has started the first runs of it: so Spark's is set.
    """
    folder = settings.home / "dagster"
    if (folder / "history").exists():
        return
    command: list[str | Path] = [settings.toolchain / "main" / "bin" / "dagster", "instance"]
    command += ["concurrency", "set", POOL, str(POOL_LIMIT)]
    created = subprocess.run(
        command,
        env={**os.environ, "DAGSTER_HOME": str(folder), "DAGSTER_DISABLE_TELEMETRY": "yes"},
        capture_output=True,
        text=True,
        check=False,
    )
    if created.returncode:
        raise StackError(f"Dagster could not create its databases in {folder}: {created.stderr.strip()}")


def _workspace_file(settings: Settings) -> Path:
    return settings.home / "conf" / "workspace.yaml"


def _location_is_loaded(settings: Settings) -> bool:
    query = "{workspaceOrError{... on Workspace{locationEntries{locationOrLoadError{__typename}}}}}"
    body = get_json(f"{settings.dagster_url}/graphql?query={query}")
    if not isinstance(body, dict) or not body.get("data"):
        return False
    entries = body["data"]["workspaceOrError"].get("locationEntries", [])
    loaded = [entry["locationOrLoadError"] for entry in entries]
    return bool(loaded) and all(entry and entry["__typename"] == "RepositoryLocation" for entry in loaded)


def _daemons_are_healthy(settings: Settings) -> bool:
    query = "{instance{daemonHealth{allDaemonStatuses{required healthy}}}}"
    body = get_json(f"{settings.dagster_url}/graphql?query={query}")
    if not isinstance(body, dict) or not body.get("data"):
        return False
    statuses = body["data"]["instance"]["daemonHealth"]["allDaemonStatuses"]
    return all(status["healthy"] for status in statuses if status["required"])
