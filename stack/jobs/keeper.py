"""Keeps one job per family running: ``python -m stack.jobs.keeper``, supervised like every service.

A session cluster forgets its jobs when the JobManager dies. The keeper compares what should run with what the
JobManager lists and submits what is missing, from the newest savepoint or retained checkpoint.
"""

import json
import logging
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from contracts import Family, LakehouseError, families
from resources.catalog import open_catalog
from resources.service import run_until_terminated
from settings import Settings
from stack.jobs.checkpoints import RestorePointError, newest_restore_point
from stack.jobs.flink_rest import ALIVE, FlinkRest, FlinkUnavailableError
from stack.jobs.rewind import RewindError, refuse_rewind
from stack.jobs.state import STATE_LAYOUT, JobState, JobStateError, load_state, save_state
from stack.jobs.upgrade import resume_point
from stack.local.priority import lower_threads
from stack.local.services.flink import TASK_MANAGER
from stack.local.services.kafka import BROKER
from stack.local.supervisor import Supervisor

POLL_S = 3.0
MAX_BACKOFF_S = 60.0
REFUSED_S = 6.0
"""Before the next look at a family whose job was refused; twice as long after each refusal in a row."""

logger = logging.getLogger("job-keeper")


class SubmissionError(LakehouseError):
    """Flink, or the client that submits jobs, did not take a job."""


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
    refusals = Refusals()
    supervisor = Supervisor(settings)
    while not stopping.is_set():
        try:
            for service in (TASK_MANAGER, BROKER):
                if (pid := supervisor.pid(service)) is not None:
                    lower_threads(pid)
            wanted = [family for family in families() if refusals.is_due(family.name, time.monotonic())]
            refused = submit_missing(settings, wanted)
            for family in wanted:
                wait = refusals.count(family.name, time.monotonic(), refused=family.name in refused)
                if wait is not None:
                    logger.error("%s; next look at %s in %.0f s", refused[family.name], family.name, wait)
            pause = POLL_S
        except FlinkUnavailableError as error:
            logger.warning("%s", error)
        except (LakehouseError, OSError) as error:
            pause = min(pause * 2, MAX_BACKOFF_S)
            logger.error("%s; next try in %.0f s", error, pause)
        stopping.wait(pause)


@dataclass(slots=True)
class Refusals:
    """When to look again at families whose jobs were refused: later after each refusal in a row.

    Times are those of a monotonic clock, in seconds.
    """

    waits: dict[str, float] = field(default_factory=dict)
    until: dict[str, float] = field(default_factory=dict)

    def is_due(self, name: str, now: float) -> bool:
        """Whether the family's wait is over."""
        return self.until.get(name, now) <= now

    def count(self, name: str, now: float, *, refused: bool) -> float | None:
        """Note what a look at the family has come to; returns how long to wait where it was a refusal."""
        if not refused:
            self.waits.pop(name, None)
            return None
        self.waits[name] = min(2 * self.waits[name], MAX_BACKOFF_S) if name in self.waits else REFUSED_S
        self.until[name] = now + self.waits[name]
        return self.waits[name]


def submit_missing(settings: Settings, wanted: Sequence[Family]) -> dict[str, LakehouseError]:
    """Submit the job of every family of ``wanted`` whose newest job is not alive.

    Returns:
        Why a family's job was not submitted, by the name of the family: it would start behind its tables
        (:class:`RewindError`), what it would go on from is missing (:class:`RestorePointError`) or cannot be read
        by this version of the platform (:class:`StateLayoutError`), what is remembered of it cannot be read
        (:class:`JobStateError`), or it was not accepted (:class:`SubmissionError`).

    Raises:
        FlinkUnavailableError: the JobManager does not answer.
    """
    alive = {job.job_id: job.name for job in FlinkRest(settings.flink_url).jobs() if job.state in ALIVE}
    missing: dict[str, JobState] = {}
    refused: dict[str, LakehouseError] = {}
    for family in wanted:
        try:
            state = load_state(settings, family.name)
        except JobStateError as error:
            refused[family.name] = error
            continue
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
    return {**refused, **_submit(settings, missing)} if missing else refused


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


def _submit(settings: Settings, missing: dict[str, JobState]) -> dict[str, LakehouseError]:
    """Submit the jobs of ``missing``, each from its ``restored_from``, and remember them as they are accepted.

    Returns the errors of those that were not, by the names of their families.
    """
    for name, state in missing.items():
        origin = "the positions of the job before it" if state.resume else "the earliest offsets"
        logger.info("submitting %s from %s", name, state.restored_from or origin)
    command: list[str | Path] = [settings.toolchain / "streaming" / "bin" / "python", "-m", "streaming.submit"]
    unheard = dict.fromkeys(missing, "the client that submits jobs has ended without it")
    failed: dict[str, LakehouseError] = {}
    with (
        tempfile.TemporaryFile("w+") as jobs,
        subprocess.Popen(command, stdin=_written(jobs, missing), stdout=subprocess.PIPE, text=True) as client,
    ):
        for line in client.stdout or ():
            if not line.startswith("{"):
                logger.info("%s", line.rstrip())
                continue
            outcome = json.loads(line)
            name = outcome["family"]
            del unheard[name]
            if "error" in outcome:
                failed[name] = _not_accepted(name, outcome["error"])
                continue
            save_state(settings, name, _started(missing[name], outcome["job_id"], _continued(missing[name])))
            logger.info("submitted %s as %s", name, outcome["job_id"])
    return failed | {name: _not_accepted(name, reason) for name, reason in unheard.items()}


def _written(jobs: IO[str], missing: Mapping[str, JobState]) -> IO[str]:
    """Write what the client is to submit, and return it from its beginning."""
    for name, state in missing.items():
        resume = None if state.resume is None else state.resume.model_dump(mode="json")
        job = {"family": name, "restore_from": state.restored_from, "resume": resume}
        jobs.write(json.dumps(job) + "\n")
    jobs.seek(0)
    return jobs


def _not_accepted(name: str, reason: str) -> SubmissionError:
    return SubmissionError(f"the job of {name} was not submitted: {reason}; the lines above say more")


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
