"""The part of Flink's REST API that operating a job needs.

Source: Flink documentation, "REST API", version 2.1.
"""

from dataclasses import dataclass
from typing import Any

import httpx
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

from contracts import LakehouseError

REQUEST_TIMEOUT_S = 10
SAVEPOINT_TIMEOUT_S = 300

ALIVE = frozenset({"INITIALIZING", "CREATED", "RUNNING", "RESTARTING", "RECONCILING", "FAILING", "CANCELLING"})
"""States of a job that still holds slots, or will again without our doing."""


class FlinkUnavailableError(LakehouseError):
    """The JobManager does not answer."""


class SavepointError(LakehouseError):
    """A job could not be stopped with a savepoint."""


@dataclass(frozen=True, slots=True)
class Job:
    """One job as the JobManager lists it; ``started_ms`` is Unix time in milliseconds."""

    job_id: str
    name: str
    state: str
    started_ms: int


class FlinkRest:
    """Client of one JobManager."""

    def __init__(self, url: str) -> None:
        self._url = url

    def jobs(self) -> list[Job]:
        """All jobs that the JobManager remembers, newest first.

        Raises:
            FlinkUnavailableError: no answer.
        """
        listed = self._request("GET", "/jobs/overview")["jobs"]
        jobs = [Job(job["jid"], job["name"], job["state"], job["start-time"]) for job in listed]
        return sorted(jobs, key=lambda job: job.started_ms, reverse=True)

    def completed_checkpoints(self, job_id: str) -> int:
        """Number of checkpoints that the job has completed since it was submitted."""
        counts: dict[str, int] = self._request("GET", f"/jobs/{job_id}/checkpoints")["counts"]
        return counts["completed"]

    def records_read(self, job_id: str, vertex: str) -> int:
        """Records that the vertices whose names begin with ``vertex`` have read from others, a second ago."""
        vertices = self._request("GET", f"/jobs/{job_id}")["vertices"]
        return sum(v["metrics"]["read-records"] for v in vertices if v["name"].startswith(vertex))

    def cancel(self, job_id: str) -> None:
        """Cancel the job; its newest checkpoint is retained."""
        self._request("PATCH", f"/jobs/{job_id}", params={"mode": "cancel"})

    def stop_with_savepoint(self, job_id: str, folder: str) -> str:
        """Stop the job after a final savepoint in ``folder`` and return the savepoint's path.

        Raises:
            SavepointError: the savepoint failed or took too long; the job may still run.
            FlinkUnavailableError: no answer.
        """
        body = {"targetDirectory": folder, "drain": False}
        trigger = self._request("POST", f"/jobs/{job_id}/stop", json=body)["request-id"]
        status = self._await_savepoint(job_id, trigger)
        if status["status"]["id"] != "COMPLETED":
            raise SavepointError(f"no savepoint of job {job_id} within {SAVEPOINT_TIMEOUT_S} s")
        operation = status["operation"]
        if "location" not in operation:
            cause = operation.get("failure-cause", {}).get("class", "unknown cause")
            raise SavepointError(f"savepoint of job {job_id} failed: {cause}")
        return str(operation["location"])

    def _await_savepoint(self, job_id: str, trigger: str) -> dict[str, Any]:
        @retry(
            retry=retry_if_result(lambda answer: answer["status"]["id"] == "IN_PROGRESS"),
            stop=stop_after_delay(SAVEPOINT_TIMEOUT_S),
            wait=wait_fixed(0.5),
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )
        def poll() -> dict[str, Any]:
            return self._request("GET", f"/jobs/{job_id}/savepoints/{trigger}")

        return poll()

    def _request(
        self, method: str, path: str, *, params: dict[str, str] | None = None, json: object = None
    ) -> dict[str, Any]:
        try:
            response = httpx.request(
                method, f"{self._url}{path}", timeout=REQUEST_TIMEOUT_S, params=params, json=json
            )
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise FlinkUnavailableError(f"Flink at {self._url} did not answer {path}: {error}") from error
        body: dict[str, Any] = response.json() if response.content else {}
        return body
