"""A running Airflow: scheduler, triggerer, DAG processor and API server, processes that can be killed."""

import subprocess
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import httpx
from airflow_environment import Airflow
from process_tree import kill_tree
from waiting import until

from stack.local.local_env import free_ports

COMPONENTS = ("api-server", "dag-processor", "triggerer", "scheduler")
ENDED = frozenset({"success", "failed"})
STORY_CHARACTERS = 3_000
"""What of each log a test that fails shows."""


@dataclass(frozen=True)
class DagRun:
    """One run of a DAG."""

    dag_id: str
    run_id: str

    @property
    def path(self) -> str:
        """Of Airflow's REST API."""
        return f"/dags/{self.dag_id}/dagRuns/{self.run_id}"


class AirflowProcesses:
    """The processes of an installed Airflow, whose DAGs start when they are asked to, not by the clock.

    A context manager: what it has started ends with it. Each process has a log in Airflow's home.
    """

    def __init__(self, airflow: Airflow) -> None:
        port, trigger_log, worker_log = free_ports(3)
        self._airflow = airflow
        address = f"http://127.0.0.1:{port}"
        self._api = httpx.Client(base_url=f"{address}/api/v2", timeout=60)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._environment = airflow.environment | {
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__BASE_URL": address,
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            # as many workers are forked at once
            "AIRFLOW__CORE__PARALLELISM": "3",
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_log),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(worker_log),
            # on a busy machine an answer takes its time, and a worker that does not wait for it fails its task
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
            "AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS": "20",
            # what a scheduler that was killed has left is taken up once it is known to be dead; one that has not
            # had its turn for so long takes itself for dead, too
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "30",
            "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
            "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
        }

    def __enter__(self) -> Self:
        try:
            for component in COMPONENTS:
                self.start(component)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, component: str) -> None:
        """Start a component."""
        with (self._airflow.home / f"{component}.log").open("a") as log:
            self._running[component] = subprocess.Popen(
                [self._airflow.python, "-m", "airflow", component],
                env=self._environment,
                stdout=log,
                stderr=log,
            )

    def kill(self, component: str) -> None:
        """Kill a component with SIGKILL, and the workers that it has."""
        kill_tree(self._running.pop(component))

    def close(self) -> None:
        """Kill what runs."""
        while self._running:
            kill_tree(self._running.popitem()[1])
        self._api.close()

    def knows(self, dag_ids: set[str]) -> bool:
        """Whether the DAGs are there to be run."""
        try:
            found = self._api.get("/dags")
        except httpx.TransportError:
            return False
        return found.is_success and dag_ids <= {dag["dag_id"] for dag in found.json()["dags"]}

    def trigger(self, dag_id: str, logical_date: datetime) -> DagRun:
        """Have a DAG run for the data interval that ends at ``logical_date``."""
        asked = self._api.post(f"/dags/{dag_id}/dagRuns", json={"logical_date": logical_date.isoformat()})
        return DagRun(dag_id, _told(asked)["dag_run_id"])

    def backfill(self, dag_id: str, first: str, end: str) -> None:
        """Ask for past days, by the command that the report of an export has."""
        self._airflow.command(
            *("backfill", "create", "--dag-id", dag_id, "--from-date", first, "--to-date", end),
            *("--max-active-runs", "1"),
        )

    def runs(self, dag_id: str, kind: str) -> list[str]:
        """States of the runs of a DAG that are of a kind."""
        found = _told(self._api.get(f"/dags/{dag_id}/dagRuns"))["dag_runs"]
        return [run["state"] for run in found if run["run_type"] == kind]

    def tasks(self, run: DagRun) -> dict[str, str]:
        """States of the tasks of a run."""
        found = _told(self._api.get(f"{run.path}/taskInstances"))["task_instances"]
        return {task["task_id"]: task["state"] for task in found}

    def clear(self, run: DagRun, task_id: str) -> None:
        """Clear a task, as the button does."""
        body = {
            "dag_run_id": run.run_id,
            "task_ids": [task_id],
            "dry_run": False,
            "only_failed": False,
        }
        _told(self._api.post(f"/dags/{run.dag_id}/clearTaskInstances", json=body))

    def story(self, run: DagRun) -> str:
        """What the tasks of a run, and the components, have logged: for the message of a test that fails."""
        logs = sorted((self._airflow.home / "logs").glob(f"dag_id={run.dag_id}/run_id={run.run_id}/**/*.log*"))
        components = [self._airflow.home / f"{component}.log" for component in COMPONENTS]
        files = [*components, *logs]
        told = (f"{file.name}:\n{file.read_text(errors='replace')[-STORY_CHARACTERS:]}" for file in files)
        return "\n".join([str(self.tasks(run)), *told])

    def triggers_begun(self, run: DagRun, task: str) -> int:
        """How many tries of a deferred task the triggerer has begun to wait for; a try is deferred before that."""
        logs = self._airflow.home / "logs" / f"dag_id={run.dag_id}" / f"run_id={run.run_id}" / f"task_id={task}"
        return len(list(logs.glob("attempt=*.log.trigger.*")))

    def ended(self, run: DagRun) -> str:
        """Wait for a run, and say how it ended."""
        until(lambda: self._state(run) in ENDED, f"{run.path} has ended")
        return self._state(run)

    def _state(self, run: DagRun) -> str:
        state: str = _told(self._api.get(run.path))["state"]
        return state


def _told(answer: httpx.Response) -> dict[str, Any]:
    assert answer.is_success, answer.text
    told: dict[str, Any] = answer.json()
    return told
