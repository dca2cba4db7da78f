"""What rows are read from."""

from collections.abc import Sequence
from dataclasses import dataclass

from pyiceberg.expressions import BooleanExpression
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot

from api.caching.batches import Batches, Scan
from api.caching.file_lists import FileLists


@dataclass(frozen=True, slots=True)
class Source:
    """A snapshot of a table, ``None`` while nothing was written, read through what the process remembers."""

    table: IcebergTable
    snapshot: Snapshot | None
    file_lists: FileLists
    batches: Batches

    def files(self, row_filter: BooleanExpression) -> Sequence[FileScanTask]:
        """The files that may have rows of ``row_filter``; blocks.

        Raises:
            OSError: the object store does not answer.
        """
        return [] if self.snapshot is None else self.file_lists.files(self.table, self.snapshot, row_filter)

    def scan(self, projection: Schema, row_filter: BooleanExpression, *, limit: int | None = None) -> Scan:
        """Prepare to read the columns of ``projection`` of the rows of ``row_filter``, at most ``limit``."""
        return self.batches.scan(self.table, projection, row_filter, limit=limit)
