"""The tasks of a job: one for each execution unit, layer or job, its gate, and the streams that it waits for."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import timedelta
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, Self

import dagster as dg

from lakehouse_assets.airflow_export.docs import asset_doc, check_doc
from lakehouse_assets.airflow_export.model import (
    RUN_TIMEOUT,
    AirflowExportError,
    GateTask,
    GroupBy,
    Retries,
    RunTask,
    Task,
    WaitTask,
)
from lakehouse_assets.airflow_export.ticks import TickRule

if TYPE_CHECKING:
    from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

MAX_RUNTIME_TAG = "dagster/max_runtime"
"""Tag of a job: seconds after which Dagster ends its runs."""
NO_OWNER = "dagster"


@dataclass(frozen=True, slots=True)
class JobView:
    """The chosen part of a job; ``whole`` if that is all of it."""

    job: dg.JobDefinition
    graph: "AssetGraph"
    assets: Set[dg.AssetKey]
    checks: Set[dg.AssetCheckKey]
    whole: bool

    @classmethod
    def of(cls, job: dg.JobDefinition, graph: "AssetGraph", chosen: Set[dg.AssetKey]) -> Self:
        """The part of ``job`` that is about the assets ``chosen``."""
        all_assets = set(job.asset_layer.selected_asset_keys)
        all_checks = set(job.asset_layer.asset_graph.asset_check_keys)
        assets = all_assets & chosen
        checks = {check for check in all_checks if check.asset_key in chosen}
        return cls(job, graph, assets, checks, assets == all_assets and checks == all_checks)


@dataclass(frozen=True, slots=True)
class _Unit:
    """What one Dagster run of a task is: assets with their checks, or checks alone."""

    name: str
    assets: tuple[dg.AssetKey, ...]
    checks: tuple[dg.AssetCheckKey, ...]


def job_tasks(view: JobView, rule: TickRule, group_by: GroupBy) -> tuple[Task, ...]:
    """The tasks, upstream first and else by name.

    Raises:
        AirflowExportError: layers depend on each other in a circle.
    """
    units = list(_grouped(view, _units(view), group_by))
    gates = {unit.name: _gate(view, unit) for unit in units}
    # downstream starts after the gate, where there is one
    last = {unit.name: gate.task_id if (gate := gates[unit.name]) else unit.name for unit in units}
    waits: dict[str, WaitTask] = {}
    tasks: list[Task] = []
    for unit in units:
        awaited = _streams(view, unit) if rule.days is not None else []
        waits |= {wait.task_id: wait for wait in awaited}
        before = [last[other] for other in _units_above(view, unit, units)]
        upstream = sorted([*before, *(wait.task_id for wait in awaited)])
        tasks.append(_run(view, unit, rule, tuple(upstream), gates[unit.name]))
        if (gate := gates[unit.name]) is not None:
            tasks.append(gate)
    return tuple(_in_order([*waits.values(), *tasks]))


def _units(view: JobView) -> Iterator[_Unit]:
    """One unit for each asset or multi-asset, and one for the checks of each asset that the job only checks."""
    by_definition: dict[frozenset[dg.AssetKey], list[dg.AssetKey]] = defaultdict(list)
    for key in sorted(view.assets):
        by_definition[frozenset(view.graph.get(key).assets_def.keys)].append(key)
    for keys in by_definition.values():
        checks = sorted(check for check in view.checks if check.asset_key in keys)
        definition = view.graph.get(keys[0]).assets_def
        name = task_id(keys[0]) if len(definition.keys) == 1 else definition.node_def.name
        yield _Unit(name, tuple(keys), tuple(checks))
    alone: dict[dg.AssetKey, list[dg.AssetCheckKey]] = defaultdict(list)
    for check in sorted(view.checks):
        if check.asset_key not in view.assets:
            alone[check.asset_key].append(check)
    for key, found in alone.items():
        yield _Unit(f"checks.{task_id(key)}", (), tuple(found))


def _grouped(view: JobView, units: Iterable[_Unit], group_by: GroupBy) -> Iterator[_Unit]:
    if group_by is GroupBy.ASSET:
        yield from units
        return
    groups: dict[str, list[_Unit]] = defaultdict(list)
    for unit in units:
        name = view.job.name if group_by is GroupBy.JOB else _layer(view, unit)
        groups[name].append(unit)
    for name, members in sorted(groups.items()):
        assets = sorted(key for unit in members for key in unit.assets)
        checks = sorted(check for unit in members for check in unit.checks)
        yield _Unit(name, tuple(assets), tuple(checks))


def _layer(view: JobView, unit: _Unit) -> str:
    if unit.assets:
        return view.graph.get(unit.assets[0]).group_name
    return f"checks.{view.graph.get(unit.checks[0].asset_key).group_name}"


def _units_above(view: JobView, unit: _Unit, units: Sequence[_Unit]) -> list[str]:
    parents = {parent for key in unit.assets for parent in view.graph.get(key).parent_keys}
    return [other.name for other in units if other is not unit and parents & set(other.assets)]


def _run(view: JobView, unit: _Unit, rule: TickRule, upstream: tuple[str, ...], gate: GateTask | None) -> RunTask:
    nodes = [view.graph.get(key) for key in unit.assets]
    pools = {pool for node in nodes for pool in node.assets_def.node_def.pools if isinstance(pool, str)}
    # a selection of assets brings their checks; a job that has assets and other checks has a unit for each
    whole = view.whole and set(unit.assets) == view.assets and set(unit.checks) == view.checks
    ops = {node.assets_def.node_def.name for node in nodes}
    return RunTask(
        task_id=unit.name,
        job=view.job.name,
        assets=() if whole else tuple(key.to_user_string() for key in unit.assets),
        checks=() if whole or unit.assets else tuple(_check_name(check) for check in unit.checks),
        days=rule.days,
        run_config=_config_of(rule.run_config, ops),
        run_config_at={time: _config_of(config, ops) for time, config in rule.run_config_at.items()},
        gated_by=() if gate is None else gate.checks,
        outlets=() if gate is not None else _outlets(view, unit),
        # a task has one pool in Airflow; where a run needs several, Dagster alone keeps to them
        pool=next(iter(pools)) if len(pools) == 1 else None,
        retries=_retries(nodes),
        timeout=_timeout(view.job),
        owner=_owner(view, unit),
        doc=_doc(view, unit),
        upstream=upstream,
    )


def _gate(view: JobView, unit: _Unit) -> GateTask | None:
    blocking = [check for check in unit.checks if view.graph.get_check_spec(check).blocking]
    if not blocking or not unit.assets:
        return None
    return GateTask(
        task_id=f"{unit.name}.checks",
        run_of=unit.name,
        checks=tuple(_check_name(check) for check in blocking),
        outlets=_outlets(view, unit),
        owner=_owner(view, unit),
        doc="\n".join(check_doc(view.graph.get_check_spec(check)) for check in blocking),
    )


def _streams(view: JobView, unit: _Unit) -> list[WaitTask]:
    """A task for each upstream table that a service writes."""
    parents = {parent for key in unit.assets for parent in view.graph.get(key).parent_keys}
    external = [view.graph.get(key) for key in sorted(parents) if not view.graph.get(key).is_materializable]
    return [
        WaitTask(
            task_id=f"{task_id(node.key)}.reaches",
            asset=node.key.to_user_string(),
            timeout=_patience(node.freshness_policy),
            owner=", ".join(sorted(node.owners)) or NO_OWNER,
            doc=asset_doc(node.key, node.description, {}),
        )
        for node in external
    ]


def _patience(policy: object) -> timedelta:
    """As late as the table may be before its freshness policy fails."""
    if isinstance(policy, dg.FreshnessPolicy) and hasattr(policy, "fail_window"):
        window: timedelta = policy.fail_window.to_timedelta()
        return window
    return RUN_TIMEOUT


def _outlets(view: JobView, unit: _Unit) -> tuple[str, ...]:
    names = (view.graph.get(key).metadata.get("dagster/table_name") for key in unit.assets)
    return tuple(sorted(str(getattr(name, "value", name)) for name in names if name is not None))


def _retries(nodes: Sequence[Any]) -> Retries | None:
    policies = [policy for node in nodes if (policy := retry_policy(node.assets_def)) is not None]
    if not policies:
        return None
    patient = max(policies, key=lambda policy: (policy.max_retries, policy.delay or 0))
    return Retries(
        patient.max_retries, timedelta(seconds=patient.delay or 0), patient.backoff is dg.Backoff.EXPONENTIAL
    )


def retry_policy(asset: dg.AssetsDefinition) -> dg.RetryPolicy | None:
    """How often Dagster tries the op of an asset again."""
    return asset.node_def.retry_policy if isinstance(asset.node_def, dg.OpDefinition) else None


def _timeout(job: dg.JobDefinition) -> timedelta:
    seconds = job.tags.get(MAX_RUNTIME_TAG)
    return RUN_TIMEOUT if seconds is None else timedelta(seconds=int(seconds))


def _config_of(config: Mapping[str, Any], ops: Set[str]) -> dict[str, Any]:
    """The part of a run configuration that is about some ops, and all that is about none."""
    kept = {name: value for name, value in (config.get("ops") or {}).items() if name in ops}
    rest = {section: value for section, value in config.items() if section != "ops"}
    return rest | ({"ops": dict(sorted(kept.items()))} if kept else {})


def _owner(view: JobView, unit: _Unit) -> str:
    keys = unit.assets or tuple(check.asset_key for check in unit.checks)
    return ", ".join(sorted({owner for key in keys for owner in view.graph.get(key).owners})) or NO_OWNER


def _doc(view: JobView, unit: _Unit) -> str:
    assets = [
        asset_doc(
            key, view.graph.get(key).description, view.graph.get(key).metadata if len(unit.assets) == 1 else {}
        )
        for key in unit.assets
    ]
    return "\n".join([*assets, *(check_doc(view.graph.get_check_spec(check)) for check in unit.checks)])


def _check_name(check: dg.AssetCheckKey) -> str:
    return f"{check.asset_key.to_user_string()}:{check.name}"


def task_id(key: dg.AssetKey) -> str:
    """Id of the task of an asset: letters, digits, dots, dashes and underscores."""
    return re.sub(r"[^\w.-]", "_", key.to_user_string().replace("/", "."))


def _in_order(tasks: Sequence[Task]) -> list[Task]:
    by_id = {task.task_id: task for task in tasks}
    sorter = TopologicalSorter({task.task_id: task.upstream for task in tasks})
    try:
        sorter.prepare()
    except CycleError as error:
        raise AirflowExportError(
            f"tasks depend on each other in a circle ({' > '.join(error.args[1])}): choose --group-by asset or job"
        ) from error
    ordered: list[Task] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        ordered += [by_id[name] for name in ready]
        sorter.done(*ready)
    return ordered
