"""From what is exported to files: their names and text. Writes nothing."""

import json
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from lakehouse_assets.airflow_export.model import Dag, DaysBack, Export, GateTask, RunTask, Task, WaitTask
from lakehouse_assets.airflow_export.report import MODULES, REPORT, report
from lakehouse_assets.airflow_export.source import INDENT, WIDTH, Call, Doc, Inline, source

MARK = "Written by `./lakehouse export airflow`: export again rather than edit."
"""In each file that an export owns, so that the next one may remove it."""
RUNTIME = Path(__file__).parent / "runtime"
UNLIMITED = -1
"""Slots of an Airflow pool without a limit."""
CONNECTION = "lakehouse_dagster"


class AirflowVersion(StrEnum):
    """Major version of Airflow that the files are for."""

    TWO = "2"
    THREE = "3"


SDK = {
    AirflowVersion.TWO: {
        "DAG": "from airflow import DAG",
        "Asset": "from airflow.datasets import Dataset",
        "CronDataIntervalTimetable": "from airflow.timetables.interval import CronDataIntervalTimetable",
    },
}
"""Where Airflow 2 has what Airflow 3 has in ``airflow.sdk``."""
BACKFILL = {
    AirflowVersion.TWO: "airflow dags backfill DAG --start-date FIRST --end-date END",
    # the limit of the DAG does not hold for its backfills, and days may need those before them
    AirflowVersion.THREE: (
        "airflow backfill create --dag-id DAG --from-date FIRST --to-date END --max-active-runs 1"
    ),
}
"""Computes past days, oldest first."""
LIMITS = {
    AirflowVersion.TWO: (
        "**kill**: Airflow 2 does not tell a trigger that its task was killed: the run in Dagster goes on. "
        "Nearest: cancel it there; the task's log has the link.",
        "**proof**: on Airflow 2 the tests parse these files and run a DAG with `dag.test()`; killed schedulers, "
        "cleared tasks and backfills they try on Airflow 3 only. Nearest: try those before you rely on them.",
    ),
}
"""What a version of Airflow cannot do; a line of the report each."""
MOVED_SINCE_2 = {
    "from airflow.sdk import BaseOperator\n": "",
    "from airflow.sdk.exceptions import AirflowException, AirflowFailException\n": (
        "from airflow.exceptions import AirflowException, AirflowFailException\n"
        "from airflow.models.baseoperator import BaseOperator\n"
    ),
}
"""Imports of the operator module, and what Airflow 2 has in their place."""


def render(export: Export, version: AirflowVersion, dagster_url: str) -> dict[str, str]:
    """All files of an export: equal arguments give equal text."""
    files = {f"{dag.dag_id}.py": dag_file(dag, version) for dag in export.dags}
    files |= {name: _runtime(name, version) for name in MODULES}
    # they hold no DAG: without this Airflow looks into them each time
    files[".airflowignore"] = "".join(f"{Path(name).stem}*\n" for name in MODULES)
    files["connections.example.json"] = _json(
        {
            CONNECTION: {
                "conn_type": "http",
                "host": dagster_url,
                "password": "",
                "description": "Dagster webserver",
            }
        }
    )
    files["pools.json"] = _json(
        {
            pool: {
                "slots": UNLIMITED if limit is None else limit,
                "description": f"Dagster's pool {pool}",
                # a run that is waited for in the triggerer still needs it
                "include_deferred": True,
            }
            for pool, limit in export.pools.items()
        }
    )
    files[REPORT] = report(export, BACKFILL[version], LIMITS.get(version, ()))
    return files


def dag_file(dag: Dag, version: AirflowVersion) -> str:
    """One DAG as Python."""
    body = [f"{_name(task.task_id)} = {source(_task(task, version), 1)}" for task in dag.tasks]
    order = [_order(task) for task in dag.tasks if task.upstream]
    head = source(_dag(dag))
    parts = [
        f'"""{_plain(dag.description)}\n\n{MARK}\n"""',
        "\n".join(_imports(dag, version)),
        f"with {head}:\n" + "\n".join(INDENT + line for line in [*body, *order]),
    ]
    return "\n\n".join(parts) + "\n"


def _dag(dag: Dag) -> Call:
    timetable = Call("CronDataIntervalTimetable", {"timezone": dag.timezone}, (dag.cron,), short=True)
    return Call(
        "DAG",
        {
            "dag_id": dag.dag_id,
            "description": dag.description,
            "schedule": timetable if dag.cron is not None else Inline("None"),
            "start_date": dag.start,
            "catchup": False,
            "max_active_runs": 1,
            "tags": list(dag.tags),
            "default_args": {"on_failure_callback": Inline("tell_failure")},
        },
    )


def _task(task: Task, version: AirflowVersion) -> Call:
    match task:
        case RunTask():
            return Call("DagsterRun", _run(task, version))
        case GateTask():
            arguments = {
                "task_id": task.task_id,
                "run_of": task.run_of,
                "checks": task.checks,
                "outlets": [_outlet(name, version) for name in task.outlets],
                "owner": task.owner,
                "doc_md": Doc(task.doc),
            }
            return Call("DagsterGate", arguments)
        case WaitTask():
            arguments = {
                "task_id": task.task_id,
                "asset": task.asset,
                "wait_timeout": task.timeout,
                "owner": task.owner,
                "doc_md": Doc(task.doc),
            }
            return Call("StreamReaches", arguments)


def _run(task: RunTask, version: AirflowVersion) -> Mapping[str, Any]:
    days, retries = task.days, task.retries
    return {
        "task_id": task.task_id,
        "job": task.job,
        "assets": task.assets,
        "checks": task.checks,
        "days": days and _days(days),
        "run_config": task.run_config,
        "run_config_at": task.run_config_at,
        "gated_by": task.gated_by,
        "run_timeout": task.timeout,
        "pool": task.pool,
        "retries": retries and retries.count,
        "retry_delay": retries and retries.delay,
        "retry_exponential_backoff": True if retries and retries.exponential else None,
        "outlets": [_outlet(name, version) for name in task.outlets],
        "owner": task.owner,
        "doc_md": Doc(task.doc),
    }


def _days(days: DaysBack) -> Call:
    return Call("Days", {"first": days.first, "last": days.last, "timezone": days.timezone}, short=True)


def _outlet(name: str, version: AirflowVersion) -> Call:
    uri = f"lakehouse://{name.replace('.', '/')}"
    if version is AirflowVersion.TWO:
        return Call("Dataset", {}, (uri,), short=True)
    return Call("Asset", {"name": name, "uri": uri}, short=True)


def _imports(dag: Dag, version: AirflowVersion) -> Iterator[str]:
    used = {"DAG"}
    if dag.cron is not None:
        used.add("CronDataIntervalTimetable")
    if any(not isinstance(task, WaitTask) and task.outlets for task in dag.tasks):
        used.add("Asset")
    ours = {"tell_failure"}
    for task in dag.tasks:
        ours.add({RunTask: "DagsterRun", GateTask: "DagsterGate", WaitTask: "StreamReaches"}[type(task)])
    if any(isinstance(task, RunTask) and task.days for task in dag.tasks):
        graphql = ["from lakehouse_graphql import Days"]
    else:
        graphql = []
    yield from ("from datetime import timedelta", "from textwrap import dedent", "", "import pendulum")
    yield from _sdk(used, version)
    yield ""
    yield f"from lakehouse_dagster import {', '.join(sorted(ours, key=_isort))}"
    yield from graphql


def _sdk(names: set[str], version: AirflowVersion) -> list[str]:
    if version is AirflowVersion.THREE:
        return [f"from airflow.sdk import {', '.join(sorted(names, key=_isort))}"]
    return sorted(SDK[version][name] for name in names)


def _isort(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions, as isort orders them."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def _runtime(name: str, version: AirflowVersion) -> str:
    text = (RUNTIME / name).read_text(encoding="utf-8")
    first, _, rest = text.partition("\n")
    text = f"{first}\n\n{MARK}\n{rest}" if not first.endswith('."""') else f'{first[:-3]}\n\n{MARK}\n"""\n{rest}'
    if version is AirflowVersion.TWO:
        for here, there in MOVED_SINCE_2.items():
            text = text.replace(here, there)
    return text


def _order(task: Task) -> str:
    """What comes before a task."""
    after, before = _name(task.task_id), [_name(name) for name in task.upstream]
    if len(before) == 1:
        return f"{before[0]} >> {after}"
    line = f"[{', '.join(before)}] >> {after}"
    if len(INDENT + line) <= WIDTH:
        return line
    inner = "".join(f"{INDENT * 2}{name},\n" for name in before)
    return f"[\n{inner}{INDENT}] >> {after}"


def _name(task_id: str) -> str:
    """A variable for a task."""
    name = re.sub(r"\W", "_", task_id)
    return name if not name[0].isdigit() else f"_{name}"


def _plain(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"""', "'''").strip()


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, sort_keys=True) + "\n"
