"""Runs in the environment of Airflow: parses the exported DAGs, or runs one; prints JSON on the last line.

Arguments: ``parse``, ``run DAG_ID LOGICAL_DATE``, or ``load FOLDER`` for its modules as plugins in any order.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

try:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.sdk import BaseOperator

    WHEN = "logical_date"
except ImportError:  # Airflow 2
    from airflow.models.baseoperator import BaseOperator
    from airflow.models.dagbag import DagBag

    WHEN = "execution_date"


def main() -> None:
    """Do what the arguments say."""
    bag = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    if sys.argv[1] == "load":
        orders = permutations(sorted(Path(sys.argv[2]).glob("*.py")))
        found = {" ".join(path.stem for path in order): asks_again(order) for order in orders}
    else:
        found = parsed(bag) if sys.argv[1] == "parse" else run(bag, sys.argv[2], sys.argv[3])
    sys.stdout.write("\n" + json.dumps(found) + "\n")


def parsed(bag: DagBag) -> dict[str, Any]:
    """What Airflow makes of the files."""
    dags = {
        dag_id: {
            "tasks": {task.task_id: told(task) for task in dag.tasks},
            "timetable": type(dag.timetable).__name__,
            "catchup": dag.catchup,
        }
        for dag_id, dag in bag.dags.items()
    }
    return {"errors": bag.import_errors, "dags": dags, "dagster": "dagster" in sys.modules}


def told(task: BaseOperator) -> dict[str, Any]:
    """What a task knows beside its work."""
    callbacks = (
        task.on_failure_callback if isinstance(task.on_failure_callback, list) else [task.on_failure_callback]
    )
    return {
        "upstream": sorted(task.upstream_task_ids),
        "pool": task.pool,
        "owner": task.owner,
        "outlets": [asset.uri for asset in task.outlets],
        "on_failure": [callback.__name__ for callback in callbacks],
        "run_timeout_s": getattr(task, "run_timeout", timedelta()).total_seconds(),
    }


def asks_again(order: Sequence[Path]) -> bool:
    """Whether a task asks again that finds no webserver, where Airflow has found its plugins in that order."""
    for path in order:
        sys.modules.pop(path.stem, None)
    for path in order:
        # as the plugins manager does, whatever was imported before
        loader = SourceFileLoader(path.stem, str(path))
        spec = spec_from_loader(path.stem, loader)
        assert spec is not None
        sys.modules[path.stem] = module = module_from_spec(spec)
        loader.exec_module(module)
    ours = sys.modules["lakehouse_dagster"]
    ours.time = SimpleNamespace(monotonic=time.monotonic, sleep=_asked)
    dagster = ours.connect(ours.CONNECTION)
    try:
        ours.DagsterRun(task_id="asks", job="any")._patiently(lambda: dagster.progress("any"))
    except AskedAgainError:
        return True
    return False


class AskedAgainError(Exception):
    """A task waits to ask once more."""


def _asked(_: float) -> None:
    raise AskedAgainError


def run(bag: DagBag, dag_id: str, logical_date: str) -> dict[str, Any]:
    """States and values of the tasks of a DAG run, triggers included."""
    dag_run = bag.dags[dag_id].test(**{WHEN: datetime.fromisoformat(logical_date)})
    instances = dag_run.get_task_instances()
    return {"state": dag_run.state, "tasks": {instance.task_id: instance.state for instance in instances}}


if __name__ == "__main__":
    main()
