"""The Spark session of a run: one for all its steps, opened for as many days as the run computes."""

from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from lakehouse_assets.connections import spark_resource
from lakehouse_assets.definitions import defs
from resources import spark


@pytest.mark.parametrize(
    ("tags", "days"),
    [
        ({}, 1),
        ({"dagster/partition": "2026-02-28"}, 1),
        (
            {
                "dagster/asset_partition_range_start": "2026-02-28",
                "dagster/asset_partition_range_end": "2026-03-02",
            },
            3,
        ),
    ],
)
def test_spark_knows_how_many_days_a_run_is_for(
    tags: dict[str, str], days: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def config(_settings: Any, *, days: int) -> dict[str, str]:
        asked.append(days)
        return {}

    monkeypatch.setattr(spark, "spark_config", config)

    @dg.op(required_resource_keys={"spark"})
    def use() -> None:
        """Spark starts at its first use, and this is none."""

    @dg.job(resource_defs={"spark": spark_resource, "settings": dg.ResourceDefinition.none_resource()})
    def computes() -> None:
        use()

    assert computes.execute_in_process(tags=tags).success
    assert asked == [days]


def test_the_steps_of_a_run_share_a_session_which_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    session = SimpleNamespace(stop=lambda: events.append("stopped"))

    def start(_config: Any) -> SimpleNamespace:
        events.append("started")
        return session

    monkeypatch.setattr(spark, "spark_config", lambda _settings, *, days: {"days": str(days)})
    monkeypatch.setattr("dagster_pyspark.resources.spark_session_from_config", start)
    monkeypatch.setattr("pyspark.sql.SparkSession.getActiveSession", lambda: session)

    @dg.op(required_resource_keys={"spark"})
    def one(context: dg.OpExecutionContext) -> int:
        assert context.resources.spark.spark_session is session
        events.append("one")
        return 1

    @dg.op(required_resource_keys={"spark"})
    def other(context: dg.OpExecutionContext, _before: int) -> None:
        assert context.resources.spark.spark_session is session
        events.append("other")

    @dg.job(resource_defs={"spark": spark_resource, "settings": dg.ResourceDefinition.none_resource()})
    def computes() -> None:
        other(one())

    assert computes.execute_in_process().success
    assert events == ["started", "one", "other", "stopped"]
    # steps in processes of their own would each start one
    assert defs.executor is dg.in_process_executor
