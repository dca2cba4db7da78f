"""DAGs that are exported for Airflow 2, on the last Airflow 2: they parse, and have a real Dagster do the work."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import airflow_code_location
import dagster as dg
import pytest
from airflow_environment import Airflow
from small_dagster import SmallDagster

from lakehouse_assets.airflow_export.read import read_export
from lakehouse_assets.airflow_export.render import AirflowVersion, render
from lakehouse_assets.definitions import defs
from stack.cli import toolchain_folder

NOWHERE = "http://127.0.0.1:1"
CHECKED = 'key:"gold/good" or key:"gold/bad" or key:"gold/below_bad"'


@pytest.fixture
def airflow_2(tmp_path: Path) -> Callable[[str], Airflow]:
    """Makes an Airflow 2 that knows the Dagster at an address."""
    return lambda url: Airflow(toolchain_folder(), tmp_path / "home", url, version=AirflowVersion.TWO)


@pytest.fixture
def small_dagster(tmp_path: Path) -> Iterator[SmallDagster]:
    with SmallDagster(tmp_path / "dagster") as running:
        yield running


def test_airflow_2_parses_every_dag_and_task_of_the_platform(airflow_2: Callable[[str], Airflow]) -> None:
    export, airflow = read_export(defs), airflow_2(NOWHERE)
    airflow.place(render(export, AirflowVersion.TWO, NOWHERE))
    found = airflow.parse()
    assert found["errors"] == {}
    assert not found["dagster"]
    orders = {
        dag_id: {name: task["upstream"] for name, task in dag["tasks"].items()}
        for dag_id, dag in found["dags"].items()
    }
    assert orders == {
        dag.dag_id: {task.task_id: sorted(task.upstream) for task in dag.tasks} for dag in export.dags
    }
    for dag in export.dags:
        assert (found["dags"][dag.dag_id]["timetable"] == "CronDataIntervalTimetable") == (dag.cron is not None)
        for task in found["dags"][dag.dag_id]["tasks"].values():
            assert task["on_failure"] == ["tell_failure"]


def test_a_dag_run_of_airflow_2_computes_its_day_and_a_failed_check_stops_what_is_below(
    airflow_2: Callable[[str], Airflow], small_dagster: SmallDagster
) -> None:
    airflow = airflow_2(small_dagster.url)
    export = read_export(airflow_code_location.defs, select=CHECKED)
    airflow.install(render(export, AirflowVersion.TWO, small_dagster.url))
    small_dagster.reaches(datetime(2026, 3, 1, 0, 25, tzinfo=UTC))
    found, log = airflow.run("closes_yesterday", "2026-03-01T00:25:00+00:00")
    assert found["tasks"] == {
        "bronze.stream.reaches": "success",
        "gold.good": "success",
        "gold.good.checks": "success",
        "gold.bad": "success",
        "gold.bad.checks": "failed",
        "gold.below_bad": "upstream_failed",
        "gold.below_bad.checks": "upstream_failed",
    }
    good = small_dagster.instance.get_materialized_partitions(dg.AssetKey(["gold", "good"]))
    assert good == {"2026-02-28"}
    assert len(small_dagster.runs("daily")) == 2, "each task that may start has one run"
    assert "check contract of gold/bad failed (ERROR): bad is what it is" in log
