"""What the exported tasks ask of Dagster, against its own GraphQL schema and against answers made here."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dagster_graphql.schema import create_schema
from graphql import parse, validate

from lakehouse_assets.airflow_export.runtime import lakehouse_graphql as asked
from lakehouse_assets.airflow_export.runtime.lakehouse_graphql import (
    Attempt,
    Commit,
    Dagster,
    DagsterError,
    Days,
    UnreachableError,
)

URL = "http://dagster.example"
SCHEMA = create_schema().graphql_schema
NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)


class Webserver:
    """Answers each query with what it was given for its first field, and remembers what it was asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.requests: list[Mapping[str, Any]] = []

    def post(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        assert validate(SCHEMA, parse(body["query"])) == []
        self.requests.append(body["variables"])
        [field] = [name for name in self.answers if f"{name}(" in body["query"]]
        answer = self.answers[field]
        return {"data": {field: answer.pop(0) if isinstance(answer, list) else answer}}

    @property
    def dagster(self) -> Dagster:
        return Dagster(self.post, URL + "/")


def run(run_id: str, attempt: int, status: str, clears: int = 0) -> dict[str, Any]:
    tags = {asked.TRY_TAG: str(attempt), asked.CLEARS_TAG: str(clears)}
    listed = [{"key": key, "value": value} for key, value in tags.items()]
    return {"runId": run_id, "status": status, "tags": listed}


def attempt(number: int, clears: int = 0) -> Attempt:
    return Attempt("dag/run/task", number, clears)


def runs(*found: dict[str, Any]) -> Webserver:
    return Webserver(runsOrError={"__typename": "Runs", "results": list(found)})


@pytest.mark.parametrize("query", [asked.RUNS, asked.LAUNCH, asked.EVENTS, asked.CANCEL, asked.COMMITS])
def test_dagster_knows_every_field_that_is_asked_for(query: str) -> None:
    assert validate(SCHEMA, parse(query)) == []


def test_the_run_of_this_try_is_found_even_if_it_has_ended() -> None:
    assert runs(run("b", 2, "STARTED"), run("a", 1, "FAILURE")).dagster.run_of(attempt(1)) == "a"


def test_a_run_of_an_earlier_try_is_joined_while_it_goes_on() -> None:
    assert runs(run("b", 2, "QUEUED"), run("a", 1, "FAILURE")).dagster.run_of(attempt(3)) == "b"


BUSY = {"__typename": "PythonError", "message": "(sqlite3.OperationalError) database is locked"}


def test_a_webserver_that_cannot_read_is_to_be_asked_again() -> None:
    webserver = Webserver(runsOrError=BUSY, runOrError=BUSY, assetOrError=BUSY)
    for ask in (
        lambda: webserver.dagster.run_of(attempt(1)),
        lambda: webserver.dagster.progress("a"),
        lambda: webserver.dagster.commit("bronze/x"),
    ):
        with pytest.raises(UnreachableError, match="database is locked"):
            ask()


def test_an_exception_in_what_starts_a_run_is_its_end() -> None:
    with pytest.raises(DagsterError, match="database is locked") as raised:
        Webserver(launchRun=BUSY).dagster.launch("job", attempt=attempt(1))
    assert not isinstance(raised.value, UnreachableError)


@pytest.mark.parametrize("status", ["FAILURE", "CANCELED"])
def test_a_run_of_an_earlier_try_that_came_to_nothing_is_not_taken(status: str) -> None:
    webserver = runs(run("a", 1, status))
    assert webserver.dagster.run_of(attempt(2)) is None
    [request] = webserver.requests
    assert request["filter"] == {"tags": [{"key": asked.TASK_TAG, "value": "dag/run/task"}]}


def test_work_that_an_earlier_try_has_done_is_taken_by_a_retry_and_done_again_once_cleared() -> None:
    done = run("b", 2, "SUCCESS", clears=1), run("a", 1, "SUCCESS", clears=0)
    assert runs(*done).dagster.run_of(attempt(3, clears=1)) == "b"
    assert runs(*done).dagster.run_of(attempt(3, clears=2)) is None


@pytest.mark.parametrize(("number", "started"), [(1, True), (2, False)])
def test_a_try_knows_whether_it_started_a_run(number: int, started: bool) -> None:
    assert runs(run("a", 1, "CANCELED")).dagster.has_run(attempt(number)) is started


def launched(**arguments: Any) -> tuple[dict[str, Any], dict[str, str], Any]:
    webserver = Webserver(launchRun={"__typename": "LaunchRunSuccess", "run": {"runId": "new"}})
    assert webserver.dagster.launch("daily", attempt=attempt(2, clears=1), **arguments) == "new"
    [request] = webserver.requests
    params = request["params"]
    tags = {tag["key"]: tag["value"] for tag in params["executionMetadata"]["tags"]}
    return params["selector"], tags, params["runConfigData"]


def test_assets_are_launched_with_the_key_of_the_try_and_their_days() -> None:
    selector, tags, config = launched(assets=["gold/a"], days=("2026-01-01", "2026-01-07"), run_config={"ops": {}})
    assert selector["assetSelection"] == [{"path": ["gold", "a"]}]
    assert "assetCheckSelection" not in selector, "all checks of the assets"
    assert tags == {
        "airflow/task": "dag/run/task",
        "airflow/try": "2",
        "airflow/clears": "1",
        "dagster/asset_partition_range_start": "2026-01-01",
        "dagster/asset_partition_range_end": "2026-01-07",
    }
    assert config == {"ops": {}}


def test_checks_are_launched_without_their_assets() -> None:
    selector, _, _ = launched(checks=["bronze/a:contract"])
    assert selector["assetSelection"] == []
    assert selector["assetCheckSelection"] == [{"assetKey": {"path": ["bronze", "a"]}, "name": "contract"}]


def test_a_whole_job_is_launched_by_its_name() -> None:
    selector, tags, _ = launched()
    assert selector == {
        "jobName": "daily", "repositoryName": "__repository__", "repositoryLocationName": "lakehouse",
    }  # fmt: skip
    assert set(tags) == {"airflow/task", "airflow/try", "airflow/clears"}


def test_a_refusal_says_why() -> None:
    webserver = Webserver(
        launchRun={"__typename": "RunConfigValidationInvalid", "errors": [{"message": "no such field"}]}
    )
    with pytest.raises(DagsterError, match="RunConfigValidationInvalid: no such field"):
        webserver.dagster.launch("daily", attempt=attempt(1))


def page(status: str, cursor: str, *events: dict[str, Any], more: bool = False) -> dict[str, Any]:
    connection = {"cursor": cursor, "hasMore": more, "events": list(events)}
    return {"__typename": "Run", "status": status, "eventConnection": connection}


def event(message: str, **more: Any) -> dict[str, Any]:
    return {"__typename": "LogMessageEvent", "message": message, "level": "INFO", "stepKey": None} | more


def test_progress_reads_all_pages_and_what_checks_said() -> None:
    evaluation = {
        "checkName": "contract",
        "assetKey": {"path": ["gold", "a"]},
        "severity": "ERROR",
        "success": False,
        "description": "2 of 9 expectations failed",
    }
    error = {"message": "outer", "errorChain": [{"error": {"message": "the cause\n"}}]}
    webserver = Webserver(
        runOrError=[
            page("STARTED", "1", event("begins"), event("noise", level="DEBUG"), more=True),
            page("FAILURE", "2", event("", evaluation=evaluation), event("ends", stepKey="a", error=error)),
        ]
    )
    progress = webserver.dagster.progress("x", "0")
    assert [request["after"] for request in webserver.requests] == ["0", "1"]
    assert (progress.status, progress.cursor, progress.error) == ("FAILURE", "2", "a: the cause")
    assert progress.lines == (
        "begins", "check contract of gold/a failed (ERROR): 2 of 9 expectations failed", "a: ends",
    )  # fmt: skip
    assert [(check.asset, check.name, check.passed) for check in progress.checks] == [
        ("gold/a", "contract", False)
    ]


def test_a_stream_reaches_as_far_as_its_greatest_watermark() -> None:
    def commit(**times: datetime) -> dict[str, Any]:
        entries = [{"label": label, "timestamp": time.timestamp()} for label, time in times.items()]
        return {"metadataEntries": [*entries, {"label": "watermark_text"}]}

    materializations = [
        commit(committed_at=NOON),
        commit(committed_at=NOON - timedelta(hours=1), watermark=NOON - timedelta(hours=2)),
        commit(watermark=NOON - timedelta(hours=3)),
    ]
    webserver = Webserver(assetOrError={"__typename": "Asset", "assetMaterializations": materializations})
    assert webserver.dagster.commit("bronze/a") == Commit(NOON - timedelta(hours=2), NOON)


@pytest.mark.parametrize(
    ("commit", "passes"),
    [
        (Commit(NOON, None), True),
        (Commit(NOON - timedelta(microseconds=1), NOON + timedelta(days=1)), False),
        (Commit(None, NOON), True),
        (Commit(None, NOON - timedelta(microseconds=1)), False),
        (Commit(None, None), False),
    ],
)
def test_the_watermark_decides_and_for_want_of_one_the_snapshot(commit: Commit, passes: bool) -> None:
    assert commit.passes(NOON) is passes


def test_an_asset_that_was_never_committed_reaches_nowhere() -> None:
    webserver = Webserver(assetOrError={"__typename": "AssetNotFoundError", "message": "no"})
    assert webserver.dagster.commit("bronze/a") == Commit(None, None)


@pytest.mark.parametrize(
    ("tick", "days", "expected"),
    [
        (datetime(2028, 3, 1, 0, 25, tzinfo=UTC), Days(timedelta(days=1), timedelta(days=1)), "2028-02-29"),
        (datetime(2027, 1, 1, 0, 25, tzinfo=UTC), Days(timedelta(days=1), timedelta(days=1)), "2026-12-31"),
        (datetime(2027, 1, 1, 0, 5, tzinfo=UTC), Days(timedelta(hours=1), timedelta(hours=1)), "2026-12-31"),
        # 00:30 in Berlin on the day after clocks went forward: that day had 23 hours
        (
            datetime(2026, 3, 29, 22, 30, tzinfo=UTC),
            Days(timedelta(days=1), timedelta(days=1), "Europe/Berlin"),
            "2026-03-29",
        ),
        # 00:30 in Berlin on the day after they went back: 25 hours
        (
            datetime(2026, 10, 25, 23, 30, tzinfo=UTC),
            Days(timedelta(days=1), timedelta(days=1), "Europe/Berlin"),
            "2026-10-25",
        ),
    ],
)
def test_days_at_the_ends_of_months_and_years_and_when_clocks_change(
    tick: datetime, days: Days, expected: str
) -> None:
    assert days.of(tick) == (expected, expected)
