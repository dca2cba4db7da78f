"""What Airflow has no equivalent of: each with the reason and what comes nearest."""

from collections.abc import Iterable, Iterator, Sequence, Set
from typing import TYPE_CHECKING

import dagster as dg

from lakehouse_assets.airflow_export.model import Dag, Refusal, RunTask
from lakehouse_assets.airflow_export.tasks import JobView, retry_policy

if TYPE_CHECKING:
    from dagster import RepositoryDefinition
    from dagster._core.definitions.assets.graph.asset_graph import AssetGraph


def graph_refusals(
    repository: "RepositoryDefinition", graph: "AssetGraph", chosen: Set[dg.AssetKey], dags: Sequence[Dag]
) -> Iterator[Refusal]:
    """What of the chosen assets and of the repository is not in the DAGs."""
    yield from _sensors(repository, graph, chosen)
    exported = exported_assets(repository, graph, chosen, dags)
    for key in sorted(chosen):
        node, name = graph.get(key), key.to_user_string()
        if node.freshness_policy is not None:
            yield Refusal(
                "freshness policy",
                name,
                "Airflow has deadlines for DAG runs, not ages of tables",
                "Dagster goes on judging it; the check event_time_lag is a task of the DAG that runs checks",
                (name,),
            )
        if node.automation_condition is not None:
            yield Refusal(
                "automation condition",
                name,
                f"Airflow evaluates no condition of assets ({node.automation_condition.get_label() or 'unnamed'})",
                "leave it on in Dagster, or schedule a DAG on the Airflow assets of its upstream tables",
                (name,),
            )
        if isinstance(node.partitions_def, dg.DynamicPartitionsDefinition):
            yield Refusal(
                "dynamic partitions",
                name,
                "a data interval names no dynamic partition",
                "a DAG run with a parameter per partition, calling the job with lakehouse_dagster.DagsterRun",
                (name,),
            )
        if node.is_materializable and key not in exported:
            yield Refusal(
                "asset without a DAG",
                name,
                "no exported schedule or job materializes it",
                "declare a job or schedule for it in Dagster and export again",
                (name,),
            )
        yield from _partition_mappings(graph, key, exported)
        if key in exported and retry_policy(node.assets_def) is not None:
            yield Refusal(
                "retry policy",
                name,
                "Dagster tries the step again within its run as well, so that tries multiply",
                "the task has the policy's retries and delay; set retries=0 in the DAG to leave them to Dagster",
                (name,),
            )
    yield from _many_pools(repository, graph, dags)


def exported_assets(
    repository: "RepositoryDefinition", graph: "AssetGraph", chosen: Set[dg.AssetKey], dags: Iterable[Dag]
) -> set[dg.AssetKey]:
    """Assets that a task of one of the DAGs materializes."""
    return {key for dag in dags for key in JobView.of(repository.get_job(dag.job), graph, chosen).assets}


def asset_names(keys: Iterable[dg.AssetKey]) -> tuple[str, ...]:
    """The keys as they are written in a selection, in order."""
    return tuple(sorted(key.to_user_string() for key in keys))


def _sensors(
    repository: "RepositoryDefinition", graph: "AssetGraph", chosen: Set[dg.AssetKey]
) -> Iterator[Refusal]:
    """The sensors; of a part of the assets, those that start runs of it."""
    everything = chosen == graph.get_all_asset_keys()
    for sensor in repository.sensor_defs:
        started = _started_by(sensor, repository, graph) & chosen
        if not everything and not started:
            continue
        yield Refusal(
            "sensor",
            sensor.name,
            "it is code that looks at Dagster's own cursor, events and runs",
            "leave it on in Dagster: it works beside the exported DAGs",
            asset_names(started),
        )


def _started_by(
    sensor: dg.SensorDefinition, repository: "RepositoryDefinition", graph: "AssetGraph"
) -> Set[dg.AssetKey]:
    if isinstance(sensor, dg.AutomationConditionSensorDefinition):
        return sensor.asset_selection.resolve(graph)
    jobs = (repository.get_job(target.job_name) for target in sensor.targets)
    return {key for job in jobs for key in job.asset_layer.selected_asset_keys}


def _partition_mappings(graph: "AssetGraph", key: dg.AssetKey, exported: Set[dg.AssetKey]) -> Iterator[Refusal]:
    """Partitions of other days that a partition is computed from: a task waits for those of its own run only."""
    if key not in exported:
        return
    mappings = graph.get(key).partition_mappings
    for parent, mapping in sorted(mappings.items()):
        if isinstance(mapping, dg.TimeWindowPartitionMapping) and (mapping.start_offset or mapping.end_offset):
            yield Refusal(
                "partition mapping",
                f"{key.to_user_string()} from {parent.to_user_string()}",
                f"it reads partitions {mapping.start_offset} to {mapping.end_offset} days from its own; a task "
                "waits for tasks of the same DAG run",
                "max_active_runs=1, and the backfill command of this report, keep the order",
                (key.to_user_string(),),
            )


def _many_pools(repository: "RepositoryDefinition", graph: "AssetGraph", dags: Sequence[Dag]) -> Iterator[Refusal]:
    for dag in dags:
        for task in dag.tasks:
            if not isinstance(task, RunTask) or task.pool is not None:
                continue
            keys = [dg.AssetKey.from_user_string(asset) for asset in task.assets]
            if not task.assets and not task.checks:
                keys = sorted(repository.get_job(dag.job).asset_layer.selected_asset_keys)
            pools = {str(pool) for key in keys for pool in graph.get(key).assets_def.node_def.pools}
            if pools:
                yield Refusal(
                    "pools",
                    f"{dag.dag_id}.{task.task_id}",
                    f"an Airflow task has one pool, its run needs {len(pools)}",
                    "Dagster keeps to the pools of each step; --group-by asset has one pool a task",
                    asset_names(keys),
                )
