"""Metadata files that a table has left behind.

Each commit writes the table's metadata anew, with every snapshot that is kept. Iceberg has what falls out of the
metadata log removed ("Table properties": ``write.metadata.delete-after-commit.enabled``), but over REST that is
for the catalog to do, and not every catalog does: with a commit every ten seconds that is gigabytes a day.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pyarrow.fs import FileSelector, FileSystem, FileType
from pyiceberg.table import Table as IcebergTable

SUFFIX = ".metadata.json"


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """Files that the newest metadata of a table no longer names; ``bytes`` is their size together."""

    paths: Sequence[str]
    bytes: int


def left_behind(table: IcebergTable, store: FileSystem, before: datetime) -> LeftBehind:
    """Metadata files older than ``before`` that are neither the newest nor in its log.

    A commit under way has written a file that nothing names yet: ``before`` must be longer ago than one takes.

    Raises:
        OSError: the store does not answer.
    """
    named = {
        _path(table.metadata_location),
        *(_path(entry.metadata_file) for entry in table.metadata.metadata_log),
    }
    folder = FileSelector(f"{_path(table.location())}/metadata", allow_not_found=True)
    found = [
        file
        for file in store.get_file_info(folder)
        if file.type == FileType.File
        and file.path.endswith(SUFFIX)
        and file.path not in named
        and file.mtime < before
    ]
    return LeftBehind([file.path for file in found], sum(file.size for file in found))


def remove(files: LeftBehind, store: FileSystem) -> None:
    """Delete them; one that is gone already does not matter.

    Raises:
        OSError: the store does not answer.
    """
    for path in files.paths:
        try:
            store.delete_file(path)
        except FileNotFoundError:
            continue


def _path(location: str) -> str:
    """As the store names what has this address."""
    return location.partition("://")[2] if "://" in location else location
