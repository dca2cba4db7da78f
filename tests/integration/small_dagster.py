"""A Dagster that is small enough to break: a webserver, a code server and no daemon."""

import json
import os
import signal
import socket
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import airflow_code_location
import dagster as dg
import httpx
from process_tree import kill_tree
from waiting import until

from resources.dagster_client import LOCATION
from settings.model import ROOT
from stack.local.local_env import free_ports

# no daemon: runs start at once
INSTANCE = """
run_coordinator: {module: dagster.core.run_coordinator, class: DefaultRunCoordinator}
telemetry: {enabled: false}
"""
LOCATIONS = "{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError { __typename } } } } }"


class SmallDagster:
    """A webserver over :mod:`airflow_code_location`, that can be stopped and started again.

    A context manager: what it has started ends with it.
    """

    def __init__(self, home: Path) -> None:
        home.mkdir()
        (home / "dagster.yaml").write_text(INSTANCE)
        self._home, (self._port, self._code_port) = home, free_ports(2)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        (home / "workspace.yaml").write_text(
            f"load_from: [grpc_server: {{host: 127.0.0.1, port: {self._code_port}, location_name: {LOCATION}}}]\n"
        )
        self.url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        try:
            self._start_code_server()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start_code_server(self) -> None:
        code = airflow_code_location.__file__
        # runs are its children: they go on while the webserver is away
        server = self._started(
            "dagster", "api", "grpc", "-p", str(self._code_port), "-f", code, "--location-name", LOCATION
        )
        # a webserver that finds none does not look again
        until(lambda: server.poll() is not None or listens(self._code_port), "the code server listens")
        assert server.poll() is None, (self._home / "log").read_text()[-2000:]

    def start(self) -> None:
        """Start, and wait until it answers."""
        workspace = str(self._home / "workspace.yaml")
        self._started("dagster_webserver", "-p", str(self._port), "-w", workspace)
        until(self._answers, "the webserver answers")

    def stop(self) -> None:
        """Stop it; runs go on."""
        end(self._running.pop("dagster_webserver"))

    def close(self) -> None:
        """Stop all of it, runs included."""
        while self._running:
            kill_tree(self._running.popitem()[1])

    def _started(self, *module: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "DAGSTER_HOME": str(self._home), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", *module]
        with (self._home / "log").open("a") as log:
            process = subprocess.Popen(command, env=environment, cwd=self._home, stdout=log, stderr=log)
        self._running[module[0]] = process
        return process

    def _answers(self) -> bool:
        try:
            answer = httpx.post(f"{self.url}/graphql", json={"query": LOCATIONS}, timeout=5)
            return "RepositoryLocation" in answer.text
        except httpx.HTTPError:
            return False

    @property
    def instance(self) -> dg.DagsterInstance:
        """What it has stored."""
        return dg.DagsterInstance.from_config(str(self._home))

    @property
    def gate(self) -> Path:
        """The file that a slow run waits for."""
        return self._home / airflow_code_location.GATE

    @property
    def ledger_gate(self) -> Path:
        """The file that computations in the ledger wait for."""
        return self._home / airflow_code_location.LEDGER_GATE

    def ledger(self) -> list[dict[str, Any]]:
        """Computations that began and ended, in that order: their table, days, run and event."""
        path = self._home / airflow_code_location.LEDGER
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def reaches(self, watermark: datetime) -> None:
        """Report that the stream has everything before ``watermark``."""
        metadata = {"watermark": dg.MetadataValue.timestamp(watermark)}
        self.instance.report_runless_asset_event(
            dg.AssetMaterialization(airflow_code_location.STREAM.key, metadata=metadata)
        )

    def runs(self, job: str) -> list[dg.DagsterRun]:
        """Runs of a job, oldest first."""
        return list(reversed(self.instance.get_runs(dg.RunsFilter(job_name=job))))


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=60)


def going(instance: dg.DagsterInstance, job: str) -> list[dg.DagsterRun]:
    """Runs of a job that have begun and not ended."""
    statuses = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    return list(instance.get_runs(dg.RunsFilter(job_name=job, statuses=statuses)))
