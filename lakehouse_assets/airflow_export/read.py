"""From the definitions to what is exported. Opens no connection."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from lakehouse_assets.airflow_export.model import (
    AirflowExportError,
    Dag,
    Export,
    GroupBy,
    Refusal,
    RunTask,
)
from lakehouse_assets.airflow_export.pools import PoolLimits
from lakehouse_assets.airflow_export.refusals import asset_names, exported_assets, graph_refusals
from lakehouse_assets.airflow_export.tasks import JobView, job_tasks
from lakehouse_assets.airflow_export.ticks import NoRuleError, TickRule, tick_rule

if TYPE_CHECKING:
    from dagster import RepositoryDefinition
    from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

UNPARTITIONED_START = datetime(2000, 1, 1, tzinfo=UTC)
"""First data interval of a DAG without partitions: long ago, so that none is refused."""
NO_LIMITS = PoolLimits()
NO_CONFIG = TickRule(days=None, run_config={}, run_config_at={})


@dataclass(frozen=True, slots=True)
class _Source:
    """A schedule with its job, or a job without a schedule."""

    job: dg.JobDefinition
    schedule: dg.ScheduleDefinition | None

    @property
    def name(self) -> str:
        return self.job.name if self.schedule is None else self.schedule.name


def read_export(
    definitions: dg.Definitions,
    *,
    group_by: GroupBy = GroupBy.ASSET,
    select: str | None = None,
    limits: PoolLimits = NO_LIMITS,
) -> Export:
    """What Airflow can be given of the definitions, and what it cannot.

    Args:
        definitions: the code location.
        group_by: what one task is.
        select: assets as Dagster's selection syntax has it, ``key:"gold/*"``; all without it.
        limits: of the concurrency pools.

    Raises:
        AirflowExportError: the selection matches nothing, or layers depend on each other in a circle.
    """
    repository = definitions.get_repository_def()
    graph = definitions.resolve_asset_graph()
    chosen = _chosen(graph, select)
    dags: list[Dag] = []
    refusals: list[Refusal] = []
    for source in _sources(repository):
        view = JobView.of(source.job, graph, chosen)
        if not view.assets and not view.checks:
            continue
        try:
            dags.append(_dag(source, repository, view, group_by))
        except NoRuleError as error:
            refusals.append(
                Refusal(
                    "schedule" if source.schedule else "job",
                    source.name,
                    str(error),
                    "keep it in Dagster, or write a DAG that calls the job with lakehouse_dagster.DagsterRun",
                    asset_names(view.assets),
                )
            )
    refusals += graph_refusals(repository, graph, chosen, dags)
    pools = {task.pool for dag in dags for task in dag.tasks if isinstance(task, RunTask) and task.pool}
    order = sorted(refusals, key=lambda refusal: (refusal.kind, refusal.name))
    return Export(
        tuple(sorted(dags, key=lambda dag: dag.dag_id)),
        tuple(order),
        {pool: limits.of(pool) for pool in sorted(pools)},
        _mappable(repository, graph, chosen, dags, refusals),
    )


def _mappable(
    repository: "RepositoryDefinition",
    graph: "AssetGraph",
    chosen: Set[dg.AssetKey],
    dags: Sequence[Dag],
    refusals: Sequence[Refusal],
) -> tuple[str, ...]:
    refused = {asset for refusal in refusals for asset in refusal.assets}
    return asset_names(
        key for key in exported_assets(repository, graph, chosen, dags) if key.to_user_string() not in refused
    )


def _chosen(graph: "AssetGraph", select: str | None) -> Set[dg.AssetKey]:
    if select is None:
        return graph.get_all_asset_keys()
    try:
        chosen = dg.AssetSelection.from_string(select).resolve(graph)
    except dg.DagsterError as error:
        raise AirflowExportError(f"{select!r} is no selection of assets: {error}") from error
    if not chosen:
        raise AirflowExportError(f"{select!r} selects no asset: write for example 'key:\"gold/*\"'")
    return chosen


def _sources(repository: "RepositoryDefinition") -> Iterator[_Source]:
    scheduled = {schedule.job_name for schedule in repository.schedule_defs}
    for schedule in repository.schedule_defs:
        yield _Source(repository.get_job(schedule.job_name), schedule)
    for job in repository.get_all_jobs():
        if job.name not in scheduled and not job.name.startswith("__"):
            yield _Source(job, None)


def _dag(source: _Source, repository: "RepositoryDefinition", view: JobView, group_by: GroupBy) -> Dag:
    """The DAG of a schedule or job."""
    schedule, job = source.schedule, source.job
    start = _start(job)
    if schedule is not None:
        rule = tick_rule(schedule, repository)
    elif job.partitions_def is None:
        rule = NO_CONFIG
    else:
        raise NoRuleError("no schedule says which partition it is to compute")
    return Dag(
        dag_id=source.name,
        job=job.name,
        description=(schedule and schedule.description) or job.description or job.name,
        cron=None if schedule is None else str(schedule.cron_schedule),
        timezone=(schedule and schedule.execution_timezone) or "UTC",
        start=start,
        tags=_tags(view),
        tasks=job_tasks(view, rule, group_by),
    )


def _start(job: dg.JobDefinition) -> datetime:
    partitions = job.partitions_def
    if partitions is None:
        return UNPARTITIONED_START
    if not isinstance(partitions, dg.DailyPartitionsDefinition):
        raise NoRuleError(f"its partitions are not days ({type(partitions).__name__})")
    return partitions.start.astimezone(UTC)


def _tags(view: JobView) -> tuple[str, ...]:
    """The job, and what the assets that it is about are tagged with."""
    keys = view.assets | {check.asset_key for check in view.checks}
    tags = {tag for key in keys for tag in view.graph.get(key).tags.items() if not tag[0].startswith("dagster/")}
    return ("dagster", f"job:{view.job.name}", *(f"{name}:{value}" for name, value in sorted(tags)))
