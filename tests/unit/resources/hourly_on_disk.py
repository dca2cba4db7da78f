"""A real batch table on the local disk, written to and altered as a run, a job or a person would."""

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot

from contracts import family, gold_hourly
from resources.catalog import ensure_tables

_WHOLE = gold_hourly(family("weather"))
DECLARED = replace(_WHOLE, columns=_WHOLE.columns[:5])
"""Sensor, window, zone and count: enough for everything here."""
FIRST_DAY = datetime(2024, 3, 1, tzinfo=UTC)


class HourlyTable:
    """The table; what is asked of it is always loaded anew."""

    def __init__(self, folder: Path) -> None:
        self.catalog = SqlCatalog("disk", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
        ensure_tables(self.catalog, [DECLARED], commit_retries=10)

    def load(self) -> IcebergTable:
        return self.catalog.load_table(DECLARED.identifier)

    def head(self) -> Snapshot:
        snapshot = self.load().current_snapshot()
        assert snapshot is not None
        return snapshot

    def rows(self, sensors: Iterable[str], *, day: int = 0, **values: Any) -> pa.Table:
        start = FIRST_DAY + timedelta(days=day)
        rows = [
            {
                "sensor_id": sensor,
                "window_start": start,
                "window_end": start + timedelta(hours=1),
                "zone": "harbour",
                "event_count": 1,
            }
            | values
            for sensor in sensors
        ]
        return pa.Table.from_pylist(rows, schema=self.load().schema().as_arrow())

    def append(self, *sensors: str, day: int = 0, branch: str = "main", **said: str) -> Snapshot:
        """Append a row for each sensor, in one file; ``said`` goes into the summary."""
        summary = {key.replace("__", ".").replace("_", "-"): value for key, value in said.items()}
        table = self.load()
        table.append(self.rows(sensors, day=day), snapshot_properties=summary, branch=branch)
        written = self.load().snapshot_by_name(branch)
        assert written is not None
        return written

    def sensors(self, snapshot: Snapshot | None = None) -> list[str]:
        scan = self.load().scan(snapshot_id=None if snapshot is None else snapshot.snapshot_id)
        found: list[str] = scan.to_arrow()["sensor_id"].to_pylist()
        return sorted(found)

    def rewrite(self) -> Snapshot:
        """Join all files of each day."""
        table = self.load()
        table.overwrite(table.scan().to_arrow())
        # PyIceberg overwrites in two commits and cannot say `replace`: its metadata is edited
        path = Path(urlparse(self.load().metadata_location).path)
        metadata = json.loads(path.read_bytes())
        for snapshot in metadata["snapshots"][-2:]:
            snapshot["summary"]["operation"] = "replace"
        path.write_text(json.dumps(metadata))
        return self.head()

    def data_files(self) -> dict[str, int]:
        """Bytes on the disk of the files that readers see."""
        paths = [Path(urlparse(task.file.file_path).path) for task in self.load().scan().plan_files()]
        return {f"file://{path}": path.stat().st_size for path in paths}
