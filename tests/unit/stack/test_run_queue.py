"""The run queue as the local stack configures it: Dagster's own counter says which runs may start together."""

import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.op_concurrency_limits_counter import GlobalOpConcurrencyLimitsCounter
from pydantic import SecretStr

from contracts import Writer, all_tables, quality_results, table
from lakehouse_assets.definitions import defs
from lakehouse_assets.describe import table_key
from lakehouse_assets.maintenance.assets import maintenance_key
from settings import Settings
from stack.local.services.dagster import prepare

HOURLY, CITY = table_key(table("gold.traffic_hourly")), table_key(table("gold.city_hourly"))
MAINTENANCE = maintenance_key(table("bronze.traffic_events"))
QUALITY = table_key(quality_results())


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    home, secret = tmp_path_factory.mktemp("home"), SecretStr("a-secret-of-the-test")
    (home / "conf").mkdir()
    secrets = dict.fromkeys(("s3_access_key", "s3_secret_key", "redis_password", "api_key"), secret)
    prepare(Settings(home=home, toolchain=Path(sys.prefix).parent, _env_file=None, **secrets))
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        yield instance


def queued(instance: dg.DagsterInstance, *keys: dg.AssetKey) -> dg.DagsterRun:
    job = defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection=set(keys))
    return instance.create_run_for_job(job, asset_selection=frozenset(keys))


def started(instance: dg.DagsterInstance, *runs: dg.DagsterRun) -> list[dg.DagsterRun]:
    """Those of the runs that a pass over the queue starts, as the daemon goes about it."""
    counter = GlobalOpConcurrencyLimitsCounter(
        instance,
        runs,
        [],
        concurrency_keys=instance.event_log_storage.get_concurrency_keys(),
        pool_limits=instance.event_log_storage.get_pool_limits(),
        pool_granularity=instance.get_concurrency_config().pool_config.pool_granularity,
    )
    chosen = []
    for run in runs:
        if not counter.is_blocked(run):
            counter.update_counters_with_launched_item(run)
            chosen.append(run)
    return chosen


def test_one_run_with_spark_starts_and_one_without_goes_beside_it(instance: dg.DagsterInstance) -> None:
    """From the very first pass on."""
    gold, other, upkeep = (queued(instance, key) for key in (HOURLY, CITY, MAINTENANCE))
    checks = queued(instance, QUALITY)
    assert started(instance, gold, other, upkeep, checks) == [gold, checks]
    assert started(instance, upkeep, other) == [upkeep]
    assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 2


def test_a_run_of_many_steps_of_the_pool_is_not_held_up_by_itself(instance: dg.DagsterInstance) -> None:
    run = queued(instance, HOURLY, CITY)
    assert started(instance, run) == [run]
    with InstanceConcurrencyContext(instance, run) as claims:
        assert claims.claim("spark", "first")
        assert claims.claim("spark", "second")


def test_whatever_needs_a_session_is_in_the_pool() -> None:
    graph = defs.resolve_asset_graph()
    batch = {table_key(each) for each in all_tables() if each.writer is Writer.SPARK}
    upkeep = {maintenance_key(each) for each in all_tables()}
    assert {key for key in graph.get_all_asset_keys() if "spark" in (graph.get(key).pools or ())} == batch | upkeep
    needs_session = {
        definition.key
        for definition in defs.assets or ()
        if isinstance(definition, dg.AssetsDefinition) and "spark" in definition.required_resource_keys
    }
    assert needs_session == batch | upkeep
