"""Keeps one job per family running: ``python -m stack.jobs.keeper``, supervised like every service.

A session cluster forgets its jobs when the JobManager dies. The keeper compares what should run with what the
JobManager lists and submits what is missing, from the newest savepoint or retained checkpoint.
"""

import json
import logging
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from contracts import Family, LakehouseError, families
from resources.catalog import open_catalog
from resources.service import run_until_terminated
from settings import Settings
from stack.jobs.checkpoints import RestorePointError, newest_restore_point
from stack.jobs.flink_rest import ALIVE, FlinkRest, FlinkUnavailableError
from stack.jobs.rewind import RewindError, refuse_rewind
from stack.jobs.state import STATE_LAYOUT, JobState, load_state, save_state
from stack.jobs.upgrade import resume_point
from stack.local.priority import lower_table_threads
from stack.local.services.flink import TASK_MANAGER
from stack.local.supervisor import Supervisor

POLL_S = 3.0
MAX_BACKOFF_S = 60.0
REFUSED_S = 15.0

logger = logging.getLogger("job-keeper")


class SubmissionError(LakehouseError):
    """The client that submits jobs failed."""


class StateLayoutError(LakehouseError):
    """A job cannot go on from what the one before it left."""


def main() -> None:
    """Run until SIGTERM."""
    run_until_terminated(keep, quiet="httpx")


def keep(settings: Settings, stopping: threading.Event) -> None:
    """Submit what is missing every few seconds, waiting longer after each failure, until ``stopping`` is set.

    A family whose job is refused waits by itself: the others go on.
    """
    pause = POLL_S
    refused_until: dict[str, float] = {}
    supervisor = Supervisor(settings)
    while not stopping.is_set():
        now = time.monotonic()
        try:
            if (pid := supervisor.pid(TASK_MANAGER)) is not None:
                lower_table_threads(pid)
            wanted = [family for family in families() if refused_until.get(family.name, now) <= now]
            for name, error in submit_missing(settings, wanted).items():
                refused_until[name] = now + REFUSED_S
                logger.error("%s; next look at %s in %.0f s", error, name, REFUSED_S)
            pause = POLL_S
        except FlinkUnavailableError as error:
            logger.warning("%s", error)
        except (LakehouseError, OSError) as error:
            pause = min(pause * 2, MAX_BACKOFF_S)
            logger.error("%s; next try in %.0f s", error, pause)
        stopping.wait(pause)


def submit_missing(settings: Settings, wanted: Sequence[Family]) -> dict[str, LakehouseError]:
    """Submit the job of every family of ``wanted`` whose newest job is not alive.

    Returns:
        Why a family's job was not submitted, by the name of the family: it would start behind its tables
        (:class:`RewindError`), what it would go on from is missing (:class:`RestorePointError`), or cannot be read
        by this version of the platform (:class:`StateLayoutError`).

    Raises:
        FlinkUnavailableError: the JobManager does not answer.
        SubmissionError: a job was not accepted.
    """
    alive = {job.job_id: job.name for job in FlinkRest(settings.flink_url).jobs() if job.state in ALIVE}
    missing: dict[str, JobState] = {}
    refused: dict[str, LakehouseError] = {}
    for family in wanted:
        state = load_state(settings, family.name)
        if state.stopped or state.job_id in alive:
            continue
        if stray := next((job_id for job_id, name in alive.items() if name == family.job_name), None):
            # submitted by a keeper that died before it could write the id down
            logger.info("adopting job %s of %s", stray, family.name)
            save_state(settings, family.name, _started(state, stray, state.lineage))
            continue
        try:
            missing[family.name] = _to_submit(settings, family, state)
        except (RewindError, RestorePointError, StateLayoutError) as error:
            refused[family.name] = error
    if missing:
        _submit(settings, missing)
    return refused


def _to_submit(settings: Settings, family: Family, state: JobState) -> JobState:
    """The state with what the job goes on from, unless that would do harm."""
    restore_from = newest_restore_point(settings, state)
    if restore_from is not None and state.layout != STATE_LAYOUT:
        state, restore_from = _without_its_state(settings, family, state), None
    if not state.allow_rewind and (restore_from is not None or state.resume is None):
        refuse_rewind(settings, family, restore_from, state.lineage)
    return state.model_copy(update={"restored_from": restore_from})


def _without_its_state(settings: Settings, family: Family, state: JobState) -> JobState:
    """Where a job begins that takes up the tables of the one before it, but not its state.

    One that has stopped with a savepoint has written all up to there (``StopWithSavepointTerminationHandler``).
    """
    if state.savepoint is None:
        raise StateLayoutError(
            f"the job of {family.name} was left by another version of the platform, of which this one cannot read "
            "the state, and it did not end with a savepoint: run `./lakehouse up` and `./lakehouse down` of that "
            "version first"
        )
    return JobState(resume=resume_point(settings, open_catalog(settings), family))


def _submit(settings: Settings, missing: dict[str, JobState]) -> None:
    """Submit the jobs of ``missing``, each from its ``restored_from``, and remember them as they are accepted."""
    for name, state in missing.items():
        origin = "the positions of the job before it" if state.resume else "the earliest offsets"
        logger.info("submitting %s from %s", name, state.restored_from or origin)
    arguments = [
        json.dumps(
            {
                "family": name,
                "restore_from": state.restored_from,
                "resume": None if state.resume is None else state.resume.model_dump(mode="json"),
            }
        )
        for name, state in missing.items()
    ]
    command: list[str | Path] = [
        settings.toolchain / "streaming" / "bin" / "python",
        "-m",
        "streaming.submit",
        *arguments,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        for line in client.stdout or ():
            if not line.startswith("{"):
                logger.info("%s", line.rstrip())
                continue
            submitted = json.loads(line)
            name = submitted["family"]
            save_state(settings, name, _started(missing[name], submitted["job_id"], _continued(missing[name])))
            logger.info("submitted %s as %s", name, submitted["job_id"])
    if client.returncode:
        raise SubmissionError(f"submitting {', '.join(missing)} failed: its output stands above")


def _continued(state: JobState) -> list[str]:
    """The jobs whose state the next one goes on with: none where it starts without, and counts anew."""
    if state.restored_from is None or state.job_id is None:
        return []
    return state.lineage or [state.job_id]


def _started(state: JobState, job_id: str, lineage: list[str]) -> JobState:
    started = {"job_id": job_id, "savepoint": None, "allow_rewind": False, "lineage": [*lineage, job_id]}
    return state.model_copy(update={**started, "layout": STATE_LAYOUT})


if __name__ == "__main__":
    main()
