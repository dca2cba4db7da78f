"""What is remembered of each family's job: where the next submission continues."""

from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ValidationError

from contracts import LakehouseError
from settings import Settings
from stack.local.files import write_private

STATE_LAYOUT = 3
"""Counts the changes of :mod:`streaming` after which a savepoint of the version before does not fit.

2: a window belongs to the aggregation, rather than to rows that were made for it.
3: what was seen is keyed by the identifier itself, rather than by a row of it.
"""


class JobStateError(LakehouseError):
    """What is remembered of a family's job cannot be read."""


class ResumePoint(BaseModel):
    """Where a job whose state did not fit its successor ended, per partition; see :mod:`streaming.resume`."""

    read_from: dict[int, int]
    written_up_to: dict[int, int]
    windows_up_to: dict[str, datetime]
    late: dict[int, list[int]] = {}


class JobState(BaseModel):
    """The newest job of a family, the savepoint it ended with and where it started from.

    ``lineage`` holds the jobs whose state goes on in the newest one, oldest first: checkpoint numbers keep growing
    over all of them. ``stopped`` jobs are left alone by the keeper. ``resume`` holds as long as the job that was
    started with it, and those that continue it. ``layout`` is the :data:`STATE_LAYOUT` of the newest job.
    ``allow_rewind`` lets the next submission start from a point that is older than its tables.
    """

    job_id: str | None = None
    restored_from: str | None = None
    savepoint: str | None = None
    lineage: list[str] = []
    stopped: bool = False
    resume: ResumePoint | None = None
    allow_rewind: bool = False
    layout: int = 1


def load_state(settings: Settings, family: str) -> JobState:
    """Read the family's state; an empty one when it has never run.

    Raises:
        JobStateError: the file is not what :func:`save_state` wrote.
    """
    path = _path(settings, family)
    if not path.exists():
        return JobState()
    try:
        return JobState.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise JobStateError(
            f"{path} is not what was written there ({error.errors()[0]['msg']}): restore it, or delete it and run "
            f"`./lakehouse jobs start {family} --from PATH` with the newest savepoint or checkpoint of {family}"
        ) from error


def save_state(settings: Settings, family: str, state: JobState) -> None:
    """Write the family's state so that a crash leaves either the old or the new one."""
    path = _path(settings, family)
    write_private(path.with_suffix(".part"), state.model_dump_json()).rename(path)


def _path(settings: Settings, family: str) -> Path:
    return settings.home / "jobs" / f"{family}.json"
