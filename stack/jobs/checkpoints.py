"""Finds what a job left in the object store to continue from."""

import re
from urllib.parse import urlsplit

from pyarrow import fs

from settings import Settings
from stack.jobs.state import JobState

_METADATA = re.compile(r"/chk-(\d+)/_metadata$")


def newest_restore_point(settings: Settings, state: JobState) -> str | None:
    """Where the family's next job continues: its savepoint, else its newest retained checkpoint.

    A job that died before its first checkpoint has done nothing that counts, so the next one starts where it
    had started.
    """
    if state.savepoint is not None:
        return state.savepoint
    if state.job_id is not None and (checkpoint := newest_checkpoint(settings, state.job_id)):
        return checkpoint
    return state.restored_from


def newest_checkpoint(settings: Settings, job_id: str) -> str | None:
    """Path of the newest complete checkpoint of the job; complete ones have a ``_metadata`` file."""
    folder = f"{settings.checkpoint_location}/checkpoints/{job_id}"
    listed = _store(settings).get_file_info(
        fs.FileSelector(folder.removeprefix("s3://"), recursive=True, allow_not_found=True)
    )
    numbers = [int(match.group(1)) for info in listed if (match := _METADATA.search(info.path))]
    return f"{folder}/chk-{max(numbers)}" if numbers else None


def _store(settings: Settings) -> fs.S3FileSystem:
    endpoint = urlsplit(settings.s3_endpoint)
    return fs.S3FileSystem(
        access_key=settings.s3_access_key.get_secret_value(),
        secret_key=settings.s3_secret_key.get_secret_value(),
        endpoint_override=endpoint.netloc,
        scheme=endpoint.scheme,
        region=settings.s3_region,
    )
