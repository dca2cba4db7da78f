"""Exported DAGs under a running Airflow: killed, cleared, backfilled, stopped; Dagster's work is done once."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import airflow_code_location
import dagster as dg
import pytest
from airflow_environment import Airflow
from airflow_processes import AirflowProcesses
from small_dagster import SmallDagster, going
from waiting import until

from lakehouse_assets.airflow_export.read import read_export
from lakehouse_assets.airflow_export.render import AirflowVersion, render
from stack.cli import toolchain_folder

EXPORTED = 'key:"ledger/*" or key:"gold/bad" or key:"gold/below_bad" or key:"slow"'
DAILY, SHORT, FAILING, UNSCHEDULED = "keeps_ledger", "keeps_alone", "closes_yesterday", "run_slow"
TIME = timedelta(minutes=25)
"""After midnight, when the daily DAGs are due."""
DAY = timedelta(days=1)
KILLED, CLEARED, STOPPED = (datetime(2026, 3, day, tzinfo=UTC) for day in (1, 10, 20))
BACKFILLED, BACKFILL_END = ["2026-02-27", "2026-02-28", "2026-03-01"], "2026-03-02"
REACHED = datetime(2026, 4, 1, tzinfo=UTC)
ONCE = [("first", "begins"), ("first", "ends"), ("second", "begins"), ("second", "ends")]
"""What the ledger has of a day that the daily DAG computed once."""


@pytest.fixture(scope="module")
def small_dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDagster]:
    with SmallDagster(tmp_path_factory.mktemp("small") / "dagster") as running:
        running.reaches(REACHED)
        yield running


@pytest.fixture(scope="module")
def airflow(small_dagster: SmallDagster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowProcesses]:
    installed = Airflow(toolchain_folder(), tmp_path_factory.mktemp("airflow") / "home", small_dagster.url)
    export = read_export(airflow_code_location.defs, select=EXPORTED)
    installed.install(render(export, AirflowVersion.THREE, small_dagster.url))
    with AirflowProcesses(installed) as running:
        until(lambda: running.knows({DAILY, SHORT, FAILING, UNSCHEDULED}), "Airflow knows the DAGs")
        yield running


@pytest.fixture(autouse=True)
def gates(small_dagster: SmallDagster) -> None:
    """Nothing may go on until a test says so."""
    for gate in (small_dagster.gate, small_dagster.ledger_gate):
        gate.unlink(missing_ok=True)


def entries(small_dagster: SmallDagster, day: datetime) -> list[tuple[str, str]]:
    """What the ledger has of a day."""
    return [(entry["table"], entry["event"]) for entry in small_dagster.ledger() if entry["days"] == [f"{day:%F}"]]


def test_a_day_is_computed_once_though_the_scheduler_is_killed_meanwhile(
    airflow: AirflowProcesses, small_dagster: SmallDagster
) -> None:
    run = airflow.trigger(DAILY, KILLED + DAY + TIME)
    until(lambda: airflow.tasks(run)["ledger.first"] == "deferred", "the task waits for Dagster")
    until(lambda: entries(small_dagster, KILLED) == ONCE[:1], "the computation has begun")
    airflow.kill("scheduler")
    small_dagster.ledger_gate.touch()
    until(lambda: not going(small_dagster.instance, "daily_in_ledger"), "the computation has ended")
    assert entries(small_dagster, KILLED) == ONCE[:2], "nothing goes on without a scheduler"
    airflow.start("scheduler")
    assert airflow.ended(run) == "success", airflow.story(run)
    assert set(airflow.tasks(run).values()) == {"success"}
    assert entries(small_dagster, KILLED) == ONCE


def test_work_that_a_worker_was_about_to_ask_for_when_it_was_killed_is_done_once(
    airflow: AirflowProcesses, small_dagster: SmallDagster
) -> None:
    small_dagster.stop()
    run = airflow.trigger(UNSCHEDULED, KILLED)
    until(lambda: airflow.tasks(run)["slow"] == "running", "a worker asks Dagster")
    airflow.kill("scheduler")
    airflow.start("scheduler")
    small_dagster.start()
    small_dagster.gate.touch()
    assert airflow.ended(run) == "success", airflow.story(run)
    assert len(small_dagster.runs("run_slow")) == 1


def test_a_cleared_task_runs_again_and_one_cleared_meanwhile_ends_first(
    airflow: AirflowProcesses, small_dagster: SmallDagster
) -> None:
    small_dagster.ledger_gate.touch()
    run = airflow.trigger(SHORT, CLEARED + DAY + TIME)
    assert airflow.ended(run) == "success", airflow.story(run)
    begun, ended = ("alone", "begins"), ("alone", "ends")
    assert entries(small_dagster, CLEARED) == [begun, ended]
    small_dagster.ledger_gate.unlink()
    airflow.clear(run, "ledger.alone")
    until(lambda: entries(small_dagster, CLEARED)[2:] == [begun], "it is computed again")
    # cleared before that, nobody waits for the run: the next try would go on with it
    until(lambda: airflow.triggers_begun(run, "ledger.alone") == 2, "the triggerer waits for Dagster")
    airflow.clear(run, "ledger.alone")
    until(lambda: entries(small_dagster, CLEARED)[3:] == [begun], "it is computed anew")
    small_dagster.ledger_gate.touch()
    assert airflow.ended(run) == "success", airflow.story(run)
    assert entries(small_dagster, CLEARED)[4:] == [ended]
    asked = dg.RunsFilter(job_name="daily_alone")
    done, cancelled, again = reversed(small_dagster.instance.get_run_records(asked))
    assert (done.dagster_run.status, again.dagster_run.status) == (dg.DagsterRunStatus.SUCCESS,) * 2
    assert cancelled.dagster_run.status is dg.DagsterRunStatus.CANCELED
    assert cancelled.end_time is not None
    assert again.start_time is not None
    assert cancelled.end_time <= again.start_time, "never twice at the same time"


def test_a_backfill_computes_its_days_each_once(airflow: AirflowProcesses, small_dagster: SmallDagster) -> None:
    small_dagster.ledger_gate.touch()
    before = len(small_dagster.ledger())
    airflow.backfill(SHORT, BACKFILLED[0], BACKFILL_END)
    for count in range(1, len(BACKFILLED) + 1):
        until(lambda n=count: airflow.runs(SHORT, "backfill").count("success") >= n, f"{count} days are done")
    assert airflow.runs(SHORT, "backfill") == ["success"] * len(BACKFILLED)
    found = [(*entry["days"], entry["event"]) for entry in small_dagster.ledger()[before:]]
    assert found == [(day, event) for day in BACKFILLED for event in ("begins", "ends")]


def test_a_failed_check_fails_its_task_and_stops_what_is_below(
    airflow: AirflowProcesses, small_dagster: SmallDagster
) -> None:
    run = airflow.trigger(FAILING, STOPPED + DAY + TIME)
    assert airflow.ended(run) == "failed"
    assert airflow.tasks(run) == {
        "bronze.stream.reaches": "success",
        "gold.bad": "success",
        "gold.bad.checks": "failed",
        "gold.below_bad": "upstream_failed",
        "gold.below_bad.checks": "upstream_failed",
    }
    assert len(small_dagster.runs("daily")) == 1, "nothing was started below"
