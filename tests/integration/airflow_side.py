"""Runs in the environment of Airflow: parses the exported DAGs, or runs one; prints JSON on the last line.

Arguments: ``parse``, or ``run DAG_ID LOGICAL_DATE``.
"""

import json
import os
import sys
from datetime import datetime, timedelta
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


def run(bag: DagBag, dag_id: str, logical_date: str) -> dict[str, Any]:
    """States and values of the tasks of a DAG run, triggers included."""
    dag_run = bag.dags[dag_id].test(**{WHEN: datetime.fromisoformat(logical_date)})
    instances = dag_run.get_task_instances()
    return {"state": dag_run.state, "tasks": {instance.task_id: instance.state for instance in instances}}


if __name__ == "__main__":
    main()
