"""Finds what a job left in the object store to continue from."""

import re
import struct

from pyarrow import fs

from contracts import LakehouseError
from resources.object_store import object_store
from settings import Settings
from stack.jobs.state import JobState

_HEADER = struct.Struct(">IIq")
_MAGIC = 0x4960672D
_METADATA = re.compile(r"/chk-(\d+)/_metadata$")


class RestorePointError(LakehouseError):
    """A savepoint or checkpoint is missing or is none."""


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
    listed = object_store(settings).get_file_info(
        fs.FileSelector(folder.removeprefix("s3://"), recursive=True, allow_not_found=True)
    )
    numbers = [int(match.group(1)) for info in listed if (match := _METADATA.search(info.path))]
    return f"{folder}/chk-{max(numbers)}" if numbers else None


def checkpoint_id(settings: Settings, path: str) -> int:
    """Number of the checkpoint or savepoint at ``path``; it keeps growing over the restores of a job.

    Its ``_metadata`` begins with a magic number, the version of the format and the number, big-endian (Flink's
    ``Checkpoints.storeCheckpointMetadata`` and ``MetadataV3Serializer``).

    Raises:
        RestorePointError: there is none.
    """
    file = f"{path.rstrip('/')}/_metadata".removeprefix("s3://")
    try:
        with object_store(settings).open_input_stream(file) as stream:
            header: bytes = stream.read(_HEADER.size)
    except OSError as error:
        raise RestorePointError(
            f"{path} cannot be read ({error}): `./lakehouse jobs` lists what there is"
        ) from error
    if len(header) < _HEADER.size or (unpacked := _HEADER.unpack(header))[0] != _MAGIC:
        raise RestorePointError(f"{path} is no savepoint or checkpoint of Flink")
    return int(unpacked[2])
