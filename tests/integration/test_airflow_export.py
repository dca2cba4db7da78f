"""Exported DAGs on a real Airflow: they parse there, and their tasks have a real Dagster do the work."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import airflow_code_location
import dagster as dg
import pytest
from airflow_environment import Airflow
from small_dagster import SmallDagster, going
from waiting import until

from lakehouse_assets.airflow_export.read import read_export
from lakehouse_assets.airflow_export.render import AirflowVersion, render
from lakehouse_assets.definitions import defs
from stack.cli import toolchain_folder

TOKEN = "token-that-no-log-has"  # noqa: S105  of nobody


@pytest.fixture(scope="module")
def small_dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDagster]:
    with SmallDagster(tmp_path_factory.mktemp("small") / "dagster") as running:
        yield running


@pytest.fixture(scope="module")
def airflow(small_dagster: SmallDagster, tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    """An Airflow with the DAGs of the small Dagster."""
    home = tmp_path_factory.mktemp("airflow")
    found = Airflow(toolchain_folder(), home / "home", small_dagster.url, TOKEN)
    export = read_export(airflow_code_location.defs)
    found.install(render(export, AirflowVersion.THREE, small_dagster.url))
    return found


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Airflow makes of the DAGs of the whole platform."""
    whole = Airflow(toolchain_folder(), tmp_path_factory.mktemp("whole") / "home", "http://127.0.0.1:1")
    whole.place(render(read_export(defs), AirflowVersion.THREE, "http://127.0.0.1:1"))
    return whole.parse()


def test_airflow_parses_every_dag_of_the_platform(platform: dict[str, Any]) -> None:
    found = platform
    assert found["errors"] == {}
    assert not found["dagster"]
    repository = defs.get_repository_def()
    scheduled = {schedule.name: schedule.job_name for schedule in repository.schedule_defs}
    jobs = {job.name for job in repository.get_all_jobs() if not job.name.startswith("__")}
    assert set(found["dags"]) == {*scheduled, *(jobs - set(scheduled.values()))}
    graph = defs.resolve_asset_graph()
    for schedule in repository.schedule_defs:
        dag = found["dags"][schedule.name]
        assert (dag["timetable"], dag["catchup"]) == ("CronDataIntervalTimetable", False)
        tasks = dag["tasks"]
        for key in repository.get_job(schedule.job_name).asset_layer.selected_asset_keys:
            name = ".".join(key.path)
            above = {before.removesuffix(".checks") for before in tasks[name]["upstream"]}
            for parent in graph.get(key).parent_keys:
                if (parent_name := ".".join(parent.path)) in tasks:
                    assert parent_name in above, f"{key} does not wait for {parent}"


def test_a_task_asks_again_in_whatever_order_airflow_finds_its_plugins(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    alone = Airflow(toolchain_folder(), tmp_path_factory.mktemp("alone") / "home", "http://127.0.0.1:1")
    alone.place(render(read_export(airflow_code_location.defs), AirflowVersion.THREE, "http://127.0.0.1:1"))
    found = alone.load()
    assert len(found) == 6
    assert all(found.values()), found


def test_airflow_knows_pool_owner_outlet_and_deadline_of_each_table(platform: dict[str, Any]) -> None:
    repository = defs.get_repository_def()
    graph = defs.resolve_asset_graph()
    for schedule in repository.schedule_defs:
        tasks = platform["dags"][schedule.name]["tasks"]
        job = repository.get_job(schedule.job_name)
        for key in job.asset_layer.selected_asset_keys:
            node, told = graph.get(key), tasks[".".join(key.path)]
            assert [told["pool"]] == (sorted(map(str, node.assets_def.node_def.pools)) or ["default_pool"])
            assert told["owner"] == (", ".join(sorted(node.owners)) or "dagster")
            assert told["on_failure"] == ["tell_failure"]
            assert told["run_timeout_s"] == float(job.tags.get("dagster/max_runtime", 6 * 3600))
            # a table is announced once it has passed its blocking checks
            announced = tasks.get(".".join(key.path) + ".checks", told)["outlets"]
            table = node.metadata.get("dagster/table_name")
            assert announced == ([] if table is None else [f"lakehouse://{str(table).replace('.', '/')}"])


def test_a_dag_run_has_dagster_compute_its_day_and_a_failed_check_stops_what_is_below(
    airflow: Airflow, small_dagster: SmallDagster
) -> None:
    instance = small_dagster.instance
    small_dagster.reaches(datetime(2026, 3, 1, 0, 25, tzinfo=UTC))
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
    assert len(small_dagster.runs("daily")) == 3, "each task has one run"
    assert "check contract of gold/bad failed (ERROR): bad is what it is" in log
    assert "computes ['2026-02-28']" in log, "the log of Dagster is in that of the task"
    assert f"{small_dagster.url}/runs/" in log
    [failed] = re.findall(r"closes_yesterday/\S+/gold\.bad\.checks failed: .*", log)
    assert "bad is what it is" in failed, "the callback says which task failed and why"
    assert TOKEN not in log


def test_a_webserver_that_restarts_is_waited_for(airflow: Airflow, small_dagster: SmallDagster) -> None:
    instance = small_dagster.instance
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(airflow.run, "run_slow", "2026-03-01T00:00:00+00:00")
        until(lambda: len(going(instance, "run_slow")) == 1, "the run has started")
        small_dagster.stop()
        small_dagster.gate.touch()
        until(lambda: not going(instance, "run_slow"), "the run has ended")
        until(lambda: "does not answer" in airflow.log.read_text(), "the task has met a webserver that is away")
        small_dagster.start()
        found, _ = waiting.result()
    assert found["state"] == "success"
    assert len(small_dagster.runs("run_slow")) == 1


def test_a_task_that_waits_too_long_cancels_its_run(airflow: Airflow, small_dagster: SmallDagster) -> None:
    found, log = airflow.run("run_never", "2026-03-01T00:00:00+00:00")
    assert found["tasks"] == {"never": "failed"}
    [run] = small_dagster.runs("run_never")
    until(lambda: not going(small_dagster.instance, "run_never"), f"run {run.run_id} is cancelled")
    [run] = small_dagster.runs("run_never")
    assert run.status is dg.DagsterRunStatus.CANCELED
    assert "cancelled after 0:00:05" in log
