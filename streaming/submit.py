"""Command that submits jobs: ``python -m streaming.submit < JOBS``.

Each line that it reads is a JSON object: ``family``, ``restore_from`` (path of a savepoint or checkpoint, or
null) and ``resume`` (see :mod:`streaming.resume`, or null). A measurement may give the family another name
(``called``) and choose ``sinks``. One line of JSON per job goes to stdout: ``{"family": ..., "job_id": ...}``, or
with ``error`` in place of the job's id where it was not accepted; its trace goes to stderr. Exits with 1 where one
was not accepted.
"""

import json
import sys
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from py4j.protocol import Py4JError
from pyflink.util.exceptions import JavaException

from contracts import LakehouseError, family
from settings import Settings, load_settings
from streaming.job import submit
from streaming.resume import Resume


def main(jobs: Iterable[str]) -> int:
    """Submit the job of each line in turn, whatever becomes of those before it."""
    settings = load_settings()
    outcomes = [_attempt(json.loads(line), settings) for line in jobs]
    return 0 if all(outcomes) else 1


def _attempt(wanted: Mapping[str, Any], settings: Settings) -> bool:
    """Submit one job, and say what became of it; tells whether it was accepted."""
    outcome = {"family": wanted["family"]}
    try:
        outcome["job_id"] = _submit(wanted, settings)
    except (Py4JError, JavaException, LakehouseError) as error:
        traceback.print_exc()
        outcome["error"] = _cause(error)
    sys.stdout.write(json.dumps(outcome) + "\n")
    sys.stdout.flush()
    return "job_id" in outcome


def _submit(wanted: Mapping[str, Any], settings: Settings) -> str:
    declared = family(wanted["family"])
    resume = wanted["resume"]
    return submit(
        replace(declared, name=wanted.get("called", declared.name)),
        settings,
        restore_from=wanted["restore_from"],
        resume=None if resume is None else Resume.from_json(resume),
        sinks=wanted.get("sinks"),
    )


def _cause(error: Exception) -> str:
    """The innermost cause that Java names, in one line; the layers around it only say that there was one."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return causes[-1] if causes else lines[0]


if __name__ == "__main__":
    sys.exit(main(sys.stdin))
