"""Exported DAGs on a real Airflow: they parse there, and their tasks have a real Dagster do the work."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import airflow_code_location
import dagster as dg
import httpx
import pytest
from airflow_environment import Airflow
from waiting import until

from lakehouse_assets.airflow_export.read import read_export
from lakehouse_assets.airflow_export.render import AirflowVersion, render
from lakehouse_assets.definitions import defs
from resources.dagster_client import LOCATION
from settings.model import ROOT
from stack.cli import toolchain_folder

TOKEN = "token-that-no-log-has"  # noqa: S105  of nobody
# no daemon: runs start at once
INSTANCE = """
run_coordinator: {module: dagster.core.run_coordinator, class: DefaultRunCoordinator}
telemetry: {enabled: false}
"""
LOCATIONS = "{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError { __typename } } } } }"


class SmallDagster:
    """A webserver over :mod:`airflow_code_location`, that can be stopped and started again."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        (home / "dagster.yaml").write_text(INSTANCE)
        code = Path(airflow_code_location.__file__)
        self._home, self._port, code_port = home, free_port(), free_port()
        (home / "workspace.yaml").write_text(
            f"load_from: [grpc_server: {{host: 127.0.0.1, port: {code_port}, location_name: {LOCATION}}}]\n"
        )
        # runs are its children: they go on while the webserver is away
        self._code_server = self._started(
            "dagster", "api", "grpc", "-p", str(code_port), "-f", str(code), "--location-name", LOCATION
        )
        # a webserver that finds none does not look again
        until(lambda: self._code_server.poll() is not None or listens(code_port), "the code server listens")
        assert self._code_server.poll() is None, (home / "log").read_text()[-2000:]
        self.url = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        """Start, and wait until it answers."""
        workspace = str(self._home / "workspace.yaml")
        self._webserver = self._started("dagster_webserver", "-p", str(self._port), "-w", workspace)
        until(self._answers, "the webserver answers")

    def stop(self) -> None:
        """Stop it; runs go on."""
        end(self._webserver)

    def close(self) -> None:
        """Stop all of it."""
        self.stop()
        end(self._code_server)

    def _started(self, *module: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "DAGSTER_HOME": str(self._home), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", *module]
        with (self._home / "log").open("a") as log:
            return subprocess.Popen(command, env=environment, cwd=self._home, stdout=log, stderr=log)

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


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=60)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def small_dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDagster]:
    running = SmallDagster(tmp_path_factory.mktemp("small") / "dagster")
    yield running
    running.close()


@pytest.fixture(scope="module")
def airflow(small_dagster: SmallDagster, tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    """An Airflow with the DAGs of the small Dagster."""
    home = tmp_path_factory.mktemp("airflow")
    found = Airflow(toolchain_folder(), home / "home", small_dagster.url, TOKEN)
    export = read_export(airflow_code_location.defs)
    found.install(render(export, AirflowVersion.THREE, small_dagster.url))
    return found


def test_airflow_parses_every_dag_of_the_platform(airflow: Airflow, tmp_path: Path) -> None:
    whole = Airflow(toolchain_folder(), tmp_path / "home", "http://127.0.0.1:1")
    for name, text in render(read_export(defs), AirflowVersion.THREE, "http://127.0.0.1:1").items():
        (whole.dags / name).write_text(text)
    found = whole.parse()
    assert found["errors"] == {}
    assert not found["dagster"]
    repository = defs.get_repository_def()
    assert set(found["dags"]) == {schedule.name for schedule in repository.schedule_defs}
    graph = defs.resolve_asset_graph()
    for schedule in repository.schedule_defs:
        dag = found["dags"][schedule.name]
        assert (dag["timetable"], dag["catchup"]) == ("CronDataIntervalTimetable", False)
        tasks = dag["tasks"]
        for key in repository.get_job(schedule.job_name).asset_layer.selected_asset_keys:
            above = {before.removesuffix(".checks") for before in tasks[".".join(key.path)]}
            for parent in graph.get(key).parent_keys:
                if (name := ".".join(parent.path)) in tasks:
                    assert name in above, f"{key} does not wait for {parent}"


def test_a_dag_run_has_dagster_compute_its_day_and_a_failed_check_stops_what_is_below(
    airflow: Airflow, small_dagster: SmallDagster
) -> None:
    instance = small_dagster.instance
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            airflow_code_location.STREAM.key,
            metadata={"watermark": dg.MetadataValue.timestamp(datetime(2026, 3, 1, 0, 25, tzinfo=UTC))},
        )
    )
    found, log = airflow.run("closes_yesterday", "2026-03-01T00:25:00+00:00")
    assert found["tasks"] == {
        "bronze.stream.reaches": "success",
        "gold.good": "success",
        "gold.good.checks": "success",
        "gold.below_good": "success",
        "gold.below_good.checks": "success",
        "gold.bad": "success",
        "gold.bad.checks": "failed",
        "gold.below_bad": "upstream_failed",
        "gold.below_bad.checks": "upstream_failed",
    }
    for name, expected in (("good", {"2026-02-28"}), ("below_good", {"2026-02-28"}), ("below_bad", set())):
        assert instance.get_materialized_partitions(dg.AssetKey(["gold", name])) == expected
    assert len(instance.get_runs(dg.RunsFilter(job_name="daily"))) == 3, "each task has one run"
    assert "check contract of gold/bad failed (ERROR): bad is what it is" in log
    assert "computes ['2026-02-28']" in log, "the log of Dagster is in that of the task"
    assert f"{small_dagster.url}/runs/" in log
    assert TOKEN not in log


def test_a_webserver_that_restarts_is_waited_for(airflow: Airflow, small_dagster: SmallDagster) -> None:
    instance = small_dagster.instance
    gate = Path(instance.root_directory) / airflow_code_location.GATE
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(airflow.run, "run_slow", "2026-03-01T00:00:00+00:00")
        until(lambda: len(going(instance, "run_slow")) == 1, "the run has started")
        small_dagster.stop()
        gate.touch()
        until(lambda: not going(instance, "run_slow"), "the run has ended")
        until(lambda: "does not answer" in airflow.log.read_text(), "the task has met a webserver that is away")
        small_dagster.start()
        found, _ = waiting.result()
    assert found["state"] == "success"
    assert len(instance.get_runs(dg.RunsFilter(job_name="run_slow"))) == 1


def test_a_task_that_waits_too_long_cancels_its_run(airflow: Airflow, small_dagster: SmallDagster) -> None:
    found, log = airflow.run("run_never", "2026-03-01T00:00:00+00:00")
    assert found["tasks"] == {"never": "failed"}
    [run] = small_dagster.instance.get_runs(dg.RunsFilter(job_name="run_never"))
    until(lambda: not going(small_dagster.instance, "run_never"), f"run {run.run_id} is cancelled")
    [run] = small_dagster.instance.get_runs(dg.RunsFilter(job_name="run_never"))
    assert run.status is dg.DagsterRunStatus.CANCELED
    assert "cancelled after 0:00:05" in log


def going(instance: dg.DagsterInstance, job: str) -> list[dg.DagsterRun]:
    """Runs of a job that have begun and not ended."""
    statuses = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    return list(instance.get_runs(dg.RunsFilter(job_name=job, statuses=statuses)))
