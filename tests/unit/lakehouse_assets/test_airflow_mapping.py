"""What each thing of Dagster becomes in Airflow, and what is refused."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from airflow_examples import (
    BERLIN,
    DAILY_JOB,
    DAYS,
    UPKEEP_JOB,
    definitions,
    every_hour,
    nightly,
    requested_days,
    weekly,
)
from dagster._utils.schedules import schedule_execution_time_iterator
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse_assets.airflow_export.model import (
    AirflowExportError,
    DaysBack,
    Export,
    GateTask,
    GroupBy,
    Retries,
    RunTask,
    WaitTask,
)
from lakehouse_assets.airflow_export.pools import PoolLimits, pool_limits
from lakehouse_assets.airflow_export.read import read_export
from lakehouse_assets.airflow_export.runtime.lakehouse_graphql import Days
from lakehouse_assets.airflow_export.ticks import tick_rule

EXPORT = read_export(definitions())
REPOSITORY = definitions().get_repository_def()
ONE_DAY = timedelta(days=1)


def tasks(dag_id: str, export: Export = EXPORT) -> dict[str, RunTask | GateTask | WaitTask]:
    [dag] = [dag for dag in export.dags if dag.dag_id == dag_id]
    return {task.task_id: task for task in dag.tasks}


def run(dag_id: str, task_id: str) -> RunTask:
    task = tasks(dag_id)[task_id]
    assert isinstance(task, RunTask)
    return task


def refused(export: Export, kind: str) -> list[str]:
    return [refusal.name for refusal in export.refusals if refusal.kind == kind]


def test_each_schedule_is_a_dag_with_its_cron_and_timezone_and_so_is_a_job_without_one() -> None:
    found = {dag.dag_id: (dag.job, dag.cron, dag.timezone) for dag in EXPORT.dags}
    assert found == {
        "nightly": ("daily", "30 1 * * *", BERLIN),
        "weekly": ("daily", "0 6 * * 1", "UTC"),
        "hourly_run": ("daily", "5 * * * *", "UTC"),
        "two_hourly": ("upkeep_job", "40 */2 * * *", "UTC"),
        "checks": ("checks", None, "UTC"),
    }


def test_an_execution_unit_is_a_task_after_the_gates_of_what_it_reads() -> None:
    assert {name: task.upstream for name, task in tasks("nightly").items()} == {
        "bronze.events.reaches": (),
        "gold.hourly": ("bronze.events.reaches",),
        "gold.hourly.checks": ("gold.hourly",),
        "gold.city": ("gold.hourly.checks",),
        "reports": ("gold.city",),
    }
    assert run("nightly", "reports").assets == ("report/a", "report/b")


def test_a_blocking_check_is_a_gate_and_announces_the_table_after_it_passed() -> None:
    gate = tasks("nightly")["gold.hourly.checks"]
    assert isinstance(gate, GateTask)
    assert (gate.run_of, gate.checks, gate.outlets) == (
        "gold.hourly", ("gold/hourly:contract",), ("gold.hourly",),
    )  # fmt: skip
    assert run("nightly", "gold.hourly").gated_by == gate.checks
    assert run("nightly", "gold.hourly").outlets == ()


def test_retries_pool_owner_and_units_are_those_of_the_asset() -> None:
    task = run("nightly", "gold.hourly")
    assert task.retries == Retries(3, timedelta(seconds=30), exponential=True)
    assert (task.pool, task.owner) == ("gold.hourly", "team:gold")
    assert "- `speed` (double): Mean speed [km/h]" in task.doc
    assert "check `contract` of gold/hourly, blocking: Rows are as declared" in task.doc
    assert EXPORT.pools == {"gold.hourly": None}, "without a limit, as in Dagster"
    assert run("nightly", "gold.city").retries is None


def test_a_pool_has_the_limit_of_its_own_or_that_of_all() -> None:
    limits = PoolLimits(4, {"gold.other": 2})
    assert read_export(definitions(), limits=limits).pools == {"gold.hourly": 4}
    assert read_export(definitions(), limits=replace(limits, own={"gold.hourly": 2})).pools == {"gold.hourly": 2}


def test_the_limits_are_those_of_the_instance_and_the_one_of_spark(tmp_path: Path) -> None:
    instance = tmp_path / "dagster.yaml"
    instance.write_text("concurrency: {pools: {default_limit: 3}}")
    assert [pool_limits(instance).of(pool) for pool in ("spark", "gold.quality_results")] == [1, 3]
    instance.write_text("telemetry: {enabled: false}")
    assert pool_limits(instance).of("gold.quality_results") is None
    assert pool_limits().of("gold.quality_results") == 1


def test_a_streaming_table_is_waited_for_as_long_as_its_freshness_allows_and_never_run() -> None:
    wait = tasks("nightly")["bronze.events.reaches"]
    assert wait == WaitTask(
        "bronze.events.reaches", "bronze/events", timedelta(minutes=20), "team:stream", "**bronze/events**"
    )
    started = {
        asset for dag in EXPORT.dags for task in dag.tasks if isinstance(task, RunTask) for asset in task.assets
    }
    assert "bronze/events" not in started


def test_a_run_without_data_interval_waits_for_no_stream() -> None:
    assert [*tasks("two_hourly")] == ["upkeep"]


def test_configuration_that_depends_on_the_hour_is_kept() -> None:
    task = run("two_hourly", "upkeep")
    assert task.run_config == {"ops": {"upkeep": {"config": {"deep": False}}}}
    assert task.run_config_at == {"02:40": {"ops": {"upkeep": {"config": {"deep": True}}}}}
    assert task.timeout == timedelta(minutes=15)


def test_checks_without_their_asset_are_a_task() -> None:
    # the one task of a job is the whole job
    assert run("checks", "checks.bronze.events").checks == ()
    selection = dg.AssetSelection.checks_for_assets(["bronze", "events"]) | dg.AssetSelection.assets("upkeep")
    both = dg.Definitions(jobs=[dg.define_asset_job("both", selection=selection)])
    found = tasks("both", read_export(dg.Definitions.merge(definitions(), both)))
    assert {name: (task.assets, task.checks) for name, task in found.items() if isinstance(task, RunTask)} == {
        "upkeep": (("upkeep",), ()),
        "checks.bronze.events": ((), ("bronze/events:fresh",)),
    }


def test_a_job_with_partitions_and_no_schedule_is_refused() -> None:
    job = dg.define_asset_job("some_day", selection=[dg.AssetKey(["gold", "city"])])
    assert refused(read_export(dg.Definitions.merge(definitions(), dg.Definitions(jobs=[job]))), "job") == [
        "some_day"
    ]


def test_grouping_by_job_or_layer_makes_larger_tasks() -> None:
    by_job = tasks("nightly", read_export(definitions(), group_by=GroupBy.JOB))
    assert {name: task.upstream for name, task in by_job.items()} == {
        "bronze.events.reaches": (),
        "daily": ("bronze.events.reaches",),
        "daily.checks": ("daily",),
    }
    by_layer = tasks("nightly", read_export(definitions(), group_by=GroupBy.LAYER))
    assert {name: task.upstream for name, task in by_layer.items()} == {
        "bronze.events.reaches": (),
        "gold": ("bronze.events.reaches",),
        "gold.checks": ("gold",),
        "report": ("gold.checks",),
    }


def test_layers_in_a_circle_are_refused() -> None:
    @dg.asset(key=["gold", "after"], deps=[["report", "a"]], partitions_def=DAYS, group_name="gold")
    def after() -> None: ...

    everything = dg.define_asset_job("all", selection=dg.AssetSelection.groups("gold", "report"))
    schedule = dg.build_schedule_from_partitioned_job(everything, name="circle")
    found = definitions(after, schedules=(schedule,))
    with pytest.raises(AirflowExportError, match=r"circle.*--group-by asset"):
        read_export(found, group_by=GroupBy.LAYER)
    assert "gold.after" in tasks("circle", read_export(found))


def test_a_selection_leaves_the_rest_out() -> None:
    export = read_export(definitions(), select='key:"gold/*"')
    assert [dag.dag_id for dag in export.dags] == ["hourly_run", "nightly", "weekly"]
    assert "reports" not in tasks("nightly", export)
    with pytest.raises(AirflowExportError, match="selects no asset"):
        read_export(definitions(), select='key:"nothing/*"')
    with pytest.raises(AirflowExportError, match="no selection"):
        read_export(definitions(), select="key:(")


@pytest.mark.parametrize(
    ("schedule", "rule"),
    [
        (nightly, DaysBack(ONE_DAY, ONE_DAY, BERLIN)),
        (weekly, DaysBack(timedelta(days=7), ONE_DAY, "UTC")),
        (every_hour, DaysBack(timedelta(hours=1), timedelta(hours=1), "UTC")),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_partition_of_a_tick_is_found(schedule: dg.ScheduleDefinition, rule: DaysBack) -> None:
    assert tick_rule(schedule, REPOSITORY).days == rule


RULES = {schedule: tick_rule(schedule, REPOSITORY).days for schedule in (nightly, weekly, every_hour)}


@settings(deadline=None)  # Dagster's own evaluation takes its time
@given(st.datetimes(datetime(2023, 12, 30), datetime(2030, 1, 2), timezones=st.just(UTC)))
def test_a_task_asks_for_the_day_that_dagster_would_ask_for(moment: datetime) -> None:
    for schedule, rule in RULES.items():
        tick = _tick(schedule, moment)
        assert rule is not None
        assert Days(rule.first, rule.last, rule.timezone).of(tick) == requested_days(schedule, tick, REPOSITORY)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("sensor", ["watcher"]),
        ("freshness policy", ["bronze/events"]),
        ("retry policy", ["gold/hourly"]),
    ],
)
def test_what_has_no_equivalent_is_named(kind: str, names: list[str]) -> None:
    assert refused(EXPORT, kind) == names
    assert all(refusal.reason and refusal.nearest for refusal in EXPORT.refusals)


def test_automation_dynamic_partitions_and_assets_without_a_job_are_named() -> None:
    @dg.asset(automation_condition=dg.AutomationCondition.eager())
    def eager() -> None: ...

    @dg.asset(partitions_def=dg.DynamicPartitionsDefinition(name="files"))
    def dynamic() -> None: ...

    @dg.asset(
        partitions_def=DAYS,
        deps=[
            dg.AssetDep(
                ["gold", "hourly"],
                partition_mapping=dg.TimeWindowPartitionMapping(start_offset=-7, end_offset=-1),
            )
        ],
    )
    def looks_back() -> None: ...

    job = dg.define_asset_job("looking_back", selection=["looks_back"])
    schedule = dg.build_schedule_from_partitioned_job(job)
    export = read_export(definitions(eager, dynamic, looks_back, schedules=(schedule,)))
    assert refused(export, "automation condition") == ["eager"]
    assert refused(export, "dynamic partitions") == ["dynamic"]
    assert refused(export, "asset without a DAG") == ["dynamic", "eager"]
    assert refused(export, "partition mapping") == ["looks_back from gold/hourly"]


def test_a_schedule_without_a_rule_is_refused_with_the_reason() -> None:
    @dg.schedule(job=DAILY_JOB, cron_schedule="0 3 * * *", name="erratic")
    def erratic(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        return dg.RunRequest(partition_key="2024-01-15")

    @dg.schedule(job=UPKEEP_JOB, cron_schedule="0 3 * * *", name="twice")
    def twice() -> list[dg.RunRequest]:
        return [dg.RunRequest("a"), dg.RunRequest("b")]

    many = dg.ScheduleDefinition(name="many", job=UPKEEP_JOB, cron_schedule=["0 3 * * *", "0 4 * * 1"])
    export = read_export(definitions(schedules=(erratic, twice, many)))
    reasons = {refusal.name: refusal.reason for refusal in export.refusals if refusal.kind == "schedule"}
    assert reasons["erratic"] == "its partition is not a constant time before the tick"
    assert reasons["twice"].startswith("it asks for 2 runs")
    assert reasons["many"] == "it has more than one cron line"
    assert not {"erratic", "twice", "many"} & {dag.dag_id for dag in export.dags}


def test_a_selection_is_told_of_what_concerns_it_only() -> None:
    export = read_export(definitions(), select='key:"gold/city" or key:"report/*"')
    assert export.refusals == ()
    assert export.mappable == ("gold/city", "report/a", "report/b")
    started = read_export(definitions(), select="upkeep")
    assert [(refusal.kind, refusal.name) for refusal in started.refusals] == [("sensor", "watcher")]
    assert started.mappable == ()
    assert EXPORT.mappable == export.mappable


def test_a_schedule_without_a_rule_is_nothing_to_assets_that_it_does_not_run() -> None:
    many = dg.ScheduleDefinition(name="many", job=UPKEEP_JOB, cron_schedule=["0 3 * * *", "0 4 * * 1"])
    export = read_export(definitions(schedules=(many,)), select='key:"gold/city"')
    assert export.refusals == ()


def test_an_automation_sensor_concerns_the_assets_that_it_looks_at() -> None:
    sensor = dg.AutomationConditionSensorDefinition("follows", target=dg.AssetSelection.assets(["gold", "city"]))
    more = dg.Definitions.merge(definitions(), dg.Definitions(sensors=[sensor]))
    assert refused(read_export(more, select='key:"gold/city"'), "sensor") == ["follows"]
    assert refused(read_export(more, select='key:"report/*"'), "sensor") == []


def test_several_pools_in_one_task_are_left_to_dagster() -> None:
    @dg.asset(key=["gold", "other"], partitions_def=DAYS, pool="gold.other", group_name="gold")
    def other() -> None: ...

    job = dg.define_asset_job("two", selection=dg.AssetSelection.assets(["gold", "hourly"], ["gold", "other"]))
    schedule = dg.build_schedule_from_partitioned_job(job, name="pooled")
    export = read_export(definitions(other, schedules=(schedule,)), group_by=GroupBy.JOB)
    assert refused(export, "pools") == ["pooled.two"]
    task = tasks("pooled", export)["two"]
    assert isinstance(task, RunTask)
    assert task.pool is None


def _tick(schedule: dg.ScheduleDefinition, moment: datetime) -> datetime:
    zone = schedule.execution_timezone or "UTC"
    assert isinstance(schedule.cron_schedule, str)
    return next(schedule_execution_time_iterator(moment.timestamp(), schedule.cron_schedule, zone))
