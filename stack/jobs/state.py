"""What is remembered of each family's job: where the next submission continues."""

from pathlib import Path

from pydantic import BaseModel

from settings import Settings
from stack.local.files import write_private


class JobState(BaseModel):
    """The newest job of a family, the savepoint it ended with and where it started from."""

    job_id: str | None = None
    restored_from: str | None = None
    savepoint: str | None = None


def load_state(settings: Settings, family: str) -> JobState:
    """Read the family's state; an empty one when it has never run."""
    path = _path(settings, family)
    return JobState.model_validate_json(path.read_text()) if path.exists() else JobState()


def save_state(settings: Settings, family: str, state: JobState) -> None:
    """Write the family's state so that a crash leaves either the old or the new one."""
    path = _path(settings, family)
    write_private(path.with_suffix(".part"), state.model_dump_json()).rename(path)


def _path(settings: Settings, family: str) -> Path:
    return settings.home / "jobs" / f"{family}.json"
