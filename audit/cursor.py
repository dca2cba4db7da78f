"""How far a table is proven: a small object in the object store, pinned to snapshots."""

from collections.abc import Callable, Sequence
from datetime import datetime

from pydantic import BaseModel, ValidationError
from pyiceberg.io import FileIO, load_file_io
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Operation, Snapshot

from audit.history import history
from resources.catalog import catalog_properties
from resources.offsets import follows, operation
from settings import Settings


class Pin(BaseModel):
    """The snapshot of one table that a proof is about; none while the table is empty."""

    table_uuid: str
    snapshot_id: int | None
    sequence_number: int

    @classmethod
    def of(cls, table: IcebergTable, snapshot: Snapshot | None) -> "Pin":
        """Pin ``table`` to ``snapshot``."""
        return cls(
            table_uuid=str(table.metadata.table_uuid),
            snapshot_id=None if snapshot is None else snapshot.snapshot_id,
            sequence_number=0 if snapshot is None else snapshot.sequence_number or 0,
        )

    def only_appended_since(self, table: IcebergTable, until: Snapshot | None) -> bool:
        """Whether ``until`` follows from the pinned snapshot by appends and compaction alone."""
        if str(table.metadata.table_uuid) != self.table_uuid:
            return False
        snapshots = [] if until is None else history(table, until)
        newer = [s for s in snapshots if (s.sequence_number or 0) > self.sequence_number]
        if self.snapshot_id is None:
            reachable = not newer or follows(table, newer[0], 0)
        else:
            reachable = self.snapshot_id in {s.snapshot_id for s in snapshots}
        return reachable and all(operation(s) in {Operation.APPEND, Operation.REPLACE} for s in newer)


class Cursor(BaseModel):
    """What the last audit that passed has proven, so that the next one looks at what came since."""

    bronze: Pin
    dead_letters: Pin
    windows: Pin
    first_offsets: dict[int, int]
    next_offsets: dict[int, int]
    rows: int
    dead_letter_count: int
    control_records: int
    greatest_window_end: datetime | None

    def holds(self, tables: Sequence[tuple[IcebergTable, Snapshot | None]]) -> bool:
        """Whether all three tables have only grown since: neither dropped, rolled back, rewritten nor expired."""
        pins = (self.bronze, self.dead_letters, self.windows)
        return all(pin.only_appended_since(*state) for pin, state in zip(pins, tables, strict=True))


class CursorStore:
    """Cursors by table, below the location of the checkpoints."""

    def __init__(self, location: str, open_io: Callable[[], FileIO]) -> None:
        self._location = location.rstrip("/")
        self._open_io = open_io

    @classmethod
    def of(cls, settings: Settings) -> "CursorStore":
        """The store of the platform; nothing is opened before the first use."""
        location = f"{settings.checkpoint_location}/audit"
        return cls(location, lambda: load_file_io(catalog_properties(settings), location))

    def load(self, table: str) -> Cursor | None:
        """The cursor of ``table``; none where there is none yet, or none that can be read."""
        try:
            with self._open_io().new_input(self._path(table)).open() as stream:
                return Cursor.model_validate_json(stream.read())
        except (FileNotFoundError, ValidationError):
            return None

    def save(self, table: str, cursor: Cursor) -> None:
        """Replace the cursor of ``table``: an object store shows the old object until the new one is complete."""
        with self._open_io().new_output(self._path(table)).create(overwrite=True) as stream:
            stream.write(cursor.model_dump_json().encode())

    def _path(self, table: str) -> str:
        return f"{self._location}/{table}.json"
