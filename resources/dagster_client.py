"""Starts and awaits runs of a running Dagster through its GraphQL interface."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from types import TracebackType
from typing import Any, Self

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from contracts import LakehouseError

LOCATION = "lakehouse"
"""Name of the code location in ``workspace.yaml``."""
REPOSITORY = "__repository__"
ASSET_JOB = "__ASSET_JOB"
"""Dagster's own job for runs of chosen assets."""
POLL_INTERVAL_S = 0.5
REQUEST_TIMEOUT_S = 300.0
"""A run over thousands of partitions takes Dagster minutes to accept on a small machine."""
RESTART_PATIENCE_S = 60.0
"""How long a webserver that does not answer may take to come back while a run is awaited."""

LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on Error { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""
STATUS = """
query Status($runId: ID!) {
  runOrError(runId: $runId) {
    __typename
    ... on Run { status }
    ... on Error { message }
  }
}
"""
FAILURES = """
query Failures($runId: ID!, $after: String) {
  runOrError(runId: $runId) {
    ... on Run {
      eventConnection(afterCursor: $after) {
        cursor
        hasMore
        events {
          ... on ExecutionStepFailureEvent { stepKey error { ...Causes } }
          ... on RunFailureEvent { message error { ...Causes } }
        }
      }
    }
  }
}
fragment Causes on PythonError { message errorChain { error { message } } }
"""


class DagsterError(LakehouseError):
    """Dagster cannot be reached, or refused a request."""


class RunFailedError(DagsterError):
    """A run ended without success; the message names the step and its error."""


class DagsterClient:
    """Client of one Dagster webserver; use it as a context manager."""

    def __init__(self, url: str, *, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        self._url = url
        self._http = httpx.Client(base_url=url, timeout=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def launch(self, job: str, *, first: date | None = None, last: date | None = None) -> str:
        """Start ``job``, of a partitioned job the days ``first`` to ``last`` as one run.

        Returns:
            The run's id.

        Raises:
            DagsterError: Dagster does not answer, or there is no such job or partition.
        """
        return self._launch(f"job {job}", {"jobName": job}, first, last)

    def launch_assets(self, keys: Sequence[Sequence[str]], *, first: date, last: date) -> str:
        """Materialise the days ``first`` to ``last`` of assets as one run; returns the run's id.

        Raises:
            DagsterError: Dagster does not answer, or there is no such asset or partition.
        """
        selection = {"jobName": ASSET_JOB, "assetSelection": [{"path": list(key)} for key in keys]}
        return self._launch(f"assets {', '.join('/'.join(key) for key in keys)}", selection, first, last)

    def _launch(self, what: str, selection: Mapping[str, Any], first: date | None, last: date | None) -> str:
        tags = []
        if first is not None:
            tags = [
                {"key": "dagster/asset_partition_range_start", "value": first.isoformat()},
                {"key": "dagster/asset_partition_range_end", "value": (last or first).isoformat()},
            ]
        selector = {**selection, "repositoryName": REPOSITORY, "repositoryLocationName": LOCATION}
        params = {"selector": selector, "executionMetadata": {"tags": tags}, "runConfigData": {}}
        outcome = self._query(LAUNCH, {"params": params})["launchRun"]
        if outcome["__typename"] != "LaunchRunSuccess":
            reasons = [outcome.get("message"), *(error["message"] for error in outcome.get("errors", ()))]
            raise DagsterError(f"Dagster refused {what}: {'; '.join(filter(None, reasons))}")
        run_id: str = outcome["run"]["runId"]
        return run_id

    def wait(
        self, run_id: str, *, timeout_s: float, on_status: Callable[[str], None] = lambda status: None
    ) -> None:
        """Wait until the run has succeeded; ``on_status`` is called with each new status.

        Raises:
            RunFailedError: the run failed, was cancelled, or is not done after ``timeout_s``.
            DagsterError: Dagster does not answer for a minute, or knows no such run.
        """
        deadline = time.monotonic() + timeout_s
        known = ""
        while True:
            status = self.status(run_id)
            if status != known:
                on_status(status)
                known = status
            if status == "SUCCESS":
                return
            if status in {"FAILURE", "CANCELED"}:
                raise RunFailedError(f"run {run_id} ended as {status}: {self._failure(run_id)}")
            if time.monotonic() > deadline:
                raise RunFailedError(
                    f"run {run_id} is still {status} after {timeout_s:g} s: {self._url}/runs/{run_id}"
                )
            time.sleep(POLL_INTERVAL_S)

    def status(self, run_id: str) -> str:
        """Status of a run as Dagster names it: QUEUED, STARTED, SUCCESS, FAILURE and so on.

        Raises:
            DagsterError: Dagster does not answer for a minute, or knows no such run.
        """
        outcome = self._patiently(STATUS, {"runId": run_id})["runOrError"]
        if outcome["__typename"] != "Run":
            raise DagsterError(f"Dagster has no run {run_id}: {outcome['message']}")
        status: str = outcome["status"]
        return status

    def _failure(self, run_id: str) -> str:
        reasons = []
        after, more = None, True
        while more:
            page = self._patiently(FAILURES, {"runId": run_id, "after": after})["runOrError"]["eventConnection"]
            reasons += [_reason(event) for event in page["events"] if event]
            after, more = page["cursor"], page["hasMore"]
        return reasons[0] if reasons else f"see {self._url}/runs/{run_id}"

    def _patiently(self, query: str, variables: Mapping[str, Any]) -> Any:  # noqa: ANN401
        retrying = Retrying(
            retry=retry_if_exception_type(UnreachableError),
            stop=stop_after_delay(RESTART_PATIENCE_S),
            wait=wait_fixed(POLL_INTERVAL_S),
            reraise=True,
        )
        return retrying(self._query, query, variables)

    def _query(self, query: str, variables: Mapping[str, Any]) -> Any:  # noqa: ANN401  GraphQL's JSON
        try:
            response = self._http.post("/graphql", json={"query": query, "variables": variables})
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise UnreachableError(
                f"Dagster does not answer at {self._url} ({error}): `./lakehouse status` shows its state"
            ) from error
        answer = response.json()
        if answer.get("errors"):
            raise DagsterError(f"Dagster refused a query: {answer['errors'][0]['message']}")
        return answer["data"]


class UnreachableError(DagsterError):
    """The webserver does not answer."""


def _reason(event: Mapping[str, Any]) -> str:
    error = event.get("error")
    if error is None:
        return str(event.get("message", ""))
    # the innermost cause is what went wrong; the outer ones say which step it happened in
    causes = [error["message"], *(link["error"]["message"] for link in error["errorChain"])]
    step = f"step {event['stepKey']}: " if "stepKey" in event else ""
    return step + str(causes[-1]).strip()
