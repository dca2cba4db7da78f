"""What is exported, as plain data: DAGs with their tasks, pools, and what has no equivalent in Airflow."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from contracts import LakehouseError

RUN_TIMEOUT = timedelta(hours=6)
"""How long a task waits for its run where the job has no tag ``dagster/max_runtime``."""


class AirflowExportError(LakehouseError):
    """The asset graph cannot be exported as it was asked for."""


class GroupBy(StrEnum):
    """What one Airflow task is."""

    ASSET = "asset"
    JOB = "job"
    LAYER = "layer"


@dataclass(frozen=True, slots=True)
class DaysBack:
    """Which days a tick asks for: those that lie ``first`` to ``last`` before it, on the clock of ``timezone``."""

    first: timedelta
    last: timedelta
    timezone: str


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a task is tried again, and after how long."""

    count: int
    delay: timedelta
    exponential: bool


@dataclass(frozen=True, slots=True)
class RunTask:
    """One Dagster run: ``assets`` (without any, ``checks``) of a job; the whole job where both are empty."""

    task_id: str
    job: str
    assets: tuple[str, ...]
    checks: tuple[str, ...]
    days: DaysBack | None
    run_config: Mapping[str, Any]
    run_config_at: Mapping[str, Mapping[str, Any]]
    gated_by: tuple[str, ...]
    outlets: tuple[str, ...]
    pool: str | None
    retries: Retries | None
    timeout: timedelta
    owner: str
    doc: str
    upstream: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GateTask:
    """Fails if a blocking check failed in the run of the task ``run_of``."""

    task_id: str
    run_of: str
    checks: tuple[str, ...]
    outlets: tuple[str, ...]
    owner: str
    doc: str

    @property
    def upstream(self) -> tuple[str, ...]:
        """Ids of the tasks that come before."""
        return (self.run_of,)


@dataclass(frozen=True, slots=True)
class WaitTask:
    """Waits until a table that a service writes reaches to the end of the data interval."""

    task_id: str
    asset: str
    timeout: timedelta
    owner: str
    doc: str
    upstream: tuple[str, ...] = ()


Task = RunTask | GateTask | WaitTask


@dataclass(frozen=True, slots=True)
class Dag:
    """A schedule of Dagster, or a job without one; upstream tasks stand first."""

    dag_id: str
    job: str
    description: str
    cron: str | None
    timezone: str
    start: datetime
    tags: tuple[str, ...]
    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is not exported: why, what comes nearest, and the assets that it is about."""

    kind: str
    name: str
    reason: str
    nearest: str
    assets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Export:
    """All that an export says; equal asset graphs give equal exports.

    ``pools`` have their limits, ``None`` is none. Of the assets ``mappable`` nothing is refused.
    """

    dags: tuple[Dag, ...]
    refusals: tuple[Refusal, ...]
    pools: Mapping[str, int | None] = field(default_factory=dict)
    mappable: tuple[str, ...] = ()
