"""What Airflow asks of a running Dagster, through its GraphQL interface. Needs the standard library only."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

LOCATION = "lakehouse"
"""Name of Dagster's code location."""
REPOSITORY = "__repository__"
TASK_TAG = "airflow/task"
"""Tag of a Dagster run: DAG, DAG run and task that asked for it."""
TRY_TAG = "airflow/try"
CLEARS_TAG = "airflow/clears"
"""Tag of a Dagster run: how often its DAG run had been cleared then; a retry does not count."""
RANGE_START, RANGE_END = (
    "dagster/asset_partition_range_start",
    "dagster/asset_partition_range_end",
)
"""Tags with which Dagster runs a range of partitions as one run."""
ENDED = frozenset({"SUCCESS", "FAILURE", "CANCELED"})
FAILED = "PythonError"
"""What Dagster answers where an exception kept it from reading: its database is busy or away, most often."""
RUNS_LOOKED_AT = 100
"""Newest runs of a task that are looked at: far more than it has tries."""
MATERIALIZATIONS_LOOKED_AT = 20

RUNS = """
query Runs($filter: RunsFilter!, $limit: Int!) {
  runsOrError(filter: $filter, limit: $limit) {
    __typename
    ... on Runs { results { runId status tags { key value } } }
    ... on Error { message }
  }
}
"""
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
EVENTS = """
query Events($runId: ID!, $after: String) {
  runOrError(runId: $runId) {
    __typename
    ... on Run {
      status
      eventConnection(afterCursor: $after) {
        cursor
        hasMore
        events {
          __typename
          ... on MessageEvent { message level stepKey }
          ... on ExecutionStepFailureEvent { error { ...Causes } }
          ... on RunFailureEvent { error { ...Causes } }
          ... on AssetCheckEvaluationEvent {
            evaluation { checkName assetKey { path } severity success description }
          }
        }
      }
    }
    ... on Error { message }
  }
}
fragment Causes on PythonError { message errorChain { error { message } } }
"""
CANCEL = """
mutation Cancel($runId: String!) {
  terminateRun(runId: $runId, terminatePolicy: SAFE_TERMINATE) { __typename ... on Error { message } }
}
"""
COMMITS = """
query Commits($key: AssetKeyInput!, $limit: Int!) {
  assetOrError(assetKey: $key) {
    __typename
    ... on Asset {
      assetMaterializations(limit: $limit) {
        metadataEntries { label ... on TimestampMetadataEntry { timestamp } }
      }
    }
    ... on Error { message }
  }
}
"""


class DagsterError(Exception):
    """Dagster refused a request."""


class UnreachableError(DagsterError):
    """The webserver does not answer, or fails to read what it is asked for; it may soon."""


@dataclass(frozen=True)
class Days:
    """Which days a run is for, counted back from its tick on the clock of ``timezone``.

    The tick is the end of the data interval. ``first`` equals ``last`` for one day.
    """

    first: timedelta
    last: timedelta
    timezone: str = "UTC"

    def of(self, tick: datetime) -> tuple[str, str]:
        """First and last day, as partition keys."""
        # the clock on the wall, so that a day whose clock changes counts as one day
        wall = tick.astimezone(ZoneInfo(self.timezone)).replace(tzinfo=None)
        return f"{wall - self.first:%Y-%m-%d}", f"{wall - self.last:%Y-%m-%d}"


@dataclass(frozen=True)
class Attempt:
    """One try of a task of a DAG run that was cleared ``clears`` times."""

    task: str
    number: int
    clears: int = 0


@dataclass(frozen=True)
class Check:
    """What one evaluation of an asset check said."""

    asset: str
    name: str
    passed: bool
    severity: str
    description: str

    def __str__(self) -> str:
        """The evaluation in a line, for the log."""
        said = "passed" if self.passed else f"failed ({self.severity})"
        return f"check {self.name} of {self.asset} {said}: {self.description}"


@dataclass(frozen=True)
class Progress:
    """What a run has done since ``cursor`` was taken."""

    status: str
    cursor: str | None
    lines: tuple[str, ...]
    checks: tuple[Check, ...]
    error: str | None


@dataclass(frozen=True)
class Commit:
    """How far an asset that a service writes is known to reach."""

    watermark: datetime | None
    committed_at: datetime | None

    def passes(self, until: datetime) -> bool:
        """Whether everything before ``until`` is in: by the watermark, or for want of one by the snapshot."""
        reached = self.watermark or self.committed_at
        return reached is not None and reached >= until


class Dagster:
    """Requests to one Dagster webserver; ``post`` sends a GraphQL request and returns the JSON answer."""

    def __init__(
        self, post: Callable[[Mapping[str, Any]], Mapping[str, Any]], url: str
    ) -> None:
        self._post = post
        self.url = url.rstrip("/")

    def link(self, run_id: str) -> str:
        """Page of a run."""
        return f"{self.url}/runs/{run_id}"

    def run_of(self, attempt: Attempt) -> str | None:
        """The run that a task has already.

        It is that of this try, else one of an earlier try that goes on, or that has done the work while
        nobody saw it: a retry takes it, a task that was cleared since does not.
        """
        runs = self._runs(attempt.task)
        looked_for = (
            lambda run: run["tags"].get(TRY_TAG) == str(attempt.number),
            lambda run: run["status"] not in ENDED,
            lambda run: (
                run["status"] == "SUCCESS"
                and run["tags"].get(CLEARS_TAG) == str(attempt.clears)
            ),
        )
        for suits in looked_for:
            for run in runs:
                if suits(run):
                    return str(run["runId"])
        return None

    def has_run(self, attempt: Attempt) -> bool:
        """Whether this very try started a run."""
        numbers = (run["tags"].get(TRY_TAG) for run in self._runs(attempt.task))
        return str(attempt.number) in numbers

    def launch(
        self,
        job: str,
        *,
        attempt: Attempt,
        assets: Sequence[str] = (),
        checks: Sequence[str] = (),
        days: tuple[str, str] | None = None,
        run_config: Mapping[str, Any] | None = None,
    ) -> str:
        """Start a run of assets (``gold/x``) or checks (``gold/x:check``) of a job; returns its id.

        Without ``assets`` and ``checks`` the run is of the whole job.
        """
        tags = {
            TASK_TAG: attempt.task,
            TRY_TAG: str(attempt.number),
            CLEARS_TAG: str(attempt.clears),
        }
        if days is not None:
            tags |= {RANGE_START: days[0], RANGE_END: days[1]}
        selector: dict[str, Any] = {
            "jobName": job,
            "repositoryName": REPOSITORY,
            "repositoryLocationName": LOCATION,
        }
        if assets or checks:
            selector["assetSelection"] = [_asset_key(asset) for asset in assets]
        if checks and not assets:
            named = (check.rpartition(":") for check in checks)
            selector["assetCheckSelection"] = [
                {"assetKey": _asset_key(asset), "name": name}
                for asset, _, name in named
            ]
        params = {
            "selector": selector,
            "runConfigData": run_config or {},
            "executionMetadata": {
                "tags": [{"key": key, "value": value} for key, value in tags.items()]
            },
        }
        answer = self._ask(LAUNCH, {"params": params})["launchRun"]
        # an exception in what starts a run may be one in the run's own code
        started = self._expect(answer, "LaunchRunSuccess", passing=False)
        return str(started["run"]["runId"])

    def progress(self, run_id: str, cursor: str | None = None) -> Progress:
        """Status of a run, and its events after ``cursor``."""
        lines: list[str] = []
        checks: list[Check] = []
        error: str | None = None
        while True:
            answer = self._ask(EVENTS, {"runId": run_id, "after": cursor})["runOrError"]
            run = self._expect(answer, "Run")
            page = run["eventConnection"]
            for event in page["events"]:
                if event.get("evaluation"):
                    checks.append(_check(event["evaluation"]))
                    lines.append(str(checks[-1]))
                elif event.get("level") != "DEBUG" and event.get("message"):
                    step = f"{event['stepKey']}: " if event.get("stepKey") else ""
                    lines.append(step + event["message"])
                error = error or _cause(event)
            cursor = page["cursor"]
            if not page["hasMore"]:
                return Progress(
                    run["status"], cursor, tuple(lines), tuple(checks), error
                )

    def cancel(self, run_id: str) -> None:
        """Ask a run to end; one that has ended stays as it is."""
        self._ask(CANCEL, {"runId": run_id})

    def commit(self, asset: str) -> Commit:
        """The greatest watermark and commit time among the newest materializations of an asset."""
        answer = self._ask(
            COMMITS, {"key": _asset_key(asset), "limit": MATERIALIZATIONS_LOOKED_AT}
        )["assetOrError"]
        if answer["__typename"] == "AssetNotFoundError":
            return Commit(None, None)
        events = self._expect(answer, "Asset")["assetMaterializations"]
        entries = [entry for event in events for entry in event["metadataEntries"]]
        return Commit(_newest(entries, "watermark"), _newest(entries, "committed_at"))

    def _runs(self, task: str) -> list[dict[str, Any]]:
        """Runs of all tries of a task, newest first."""
        chosen = {"tags": [{"key": TASK_TAG, "value": task}]}
        answer = self._ask(RUNS, {"filter": chosen, "limit": RUNS_LOOKED_AT})[
            "runsOrError"
        ]
        return [
            {**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}}
            for run in self._expect(answer, "Runs")["results"]
        ]

    def _ask(self, query: str, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = self._post({"query": query, "variables": variables})
        if answer.get("errors"):
            raise DagsterError(
                f"Dagster refused a query: {answer['errors'][0]['message']}"
            )
        data: Mapping[str, Any] = answer["data"]
        return data

    @staticmethod
    def _expect(
        answer: Mapping[str, Any], kind: str, *, passing: bool = True
    ) -> Mapping[str, Any]:
        found = answer["__typename"]
        if found != kind:
            reasons = [
                answer.get("message"),
                *(error["message"] for error in answer.get("errors", ())),
            ]
            error = UnreachableError if passing and found == FAILED else DagsterError
            raise error(f"Dagster answered {found}: {'; '.join(filter(None, reasons))}")
        return answer


def _asset_key(asset: str) -> dict[str, list[str]]:
    return {"path": asset.split("/")}


def _check(found: Mapping[str, Any]) -> Check:
    return Check(
        asset="/".join(found["assetKey"]["path"]),
        name=found["checkName"],
        passed=found["success"],
        severity=found["severity"],
        description=found["description"] or "no description",
    )


def _cause(event: Mapping[str, Any]) -> str | None:
    error = event.get("error")
    if not error:
        return None
    # the innermost cause is what went wrong; the outer ones say which step it happened in
    causes = [
        error["message"],
        *(link["error"]["message"] for link in error["errorChain"]),
    ]
    return f"{event.get('stepKey') or 'run'}: {causes[-1].strip()}"


def _newest(entries: Sequence[Mapping[str, Any]], label: str) -> datetime | None:
    times = [
        entry["timestamp"]
        for entry in entries
        if entry["label"] == label and "timestamp" in entry
    ]
    return datetime.fromtimestamp(max(times), ZoneInfo("UTC")) if times else None
