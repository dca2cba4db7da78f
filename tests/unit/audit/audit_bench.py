"""A platform on the local disk: real Iceberg tables, and a broker that is a list of what it holds."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io import load_file_io
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table as IcebergTable

from audit.bronze import audit_table
from audit.cursor import CursorStore
from audit.report import TableAudit
from audit.sources import Sources, silent
from contracts import ColumnType, Table, bronze_events, dead_letters, families, family, silver_1m
from resources.catalog import ensure_tables

FAMILY = family("weather")
BRONZE, LETTERS, WINDOWS = bronze_events(FAMILY), dead_letters(families()), silver_1m(FAMILY)
START = datetime(2024, 3, 1, tzinfo=UTC)
VALUES: dict[ColumnType, Any] = {
    ColumnType.STRING: "s",
    ColumnType.BOOLEAN: True,
    ColumnType.INT: 1,
    ColumnType.LONG: 1,
    ColumnType.DOUBLE: 1.0,
    ColumnType.TIMESTAMP: START,
    ColumnType.BINARY: b"x",
}

Place = tuple[int, int]
"""A partition and an offset."""


@dataclass
class FakeBroker:
    """Published records by partition; what is below the end and not among them is a control record."""

    records: dict[int, set[int]] = field(default_factory=dict)
    kept: dict[int, int] = field(default_factory=dict)
    committed: dict[int, int] = field(default_factory=dict)

    def committed_offsets(self, topic: str, group: str) -> dict[int, int]:
        assert (topic, group) == (FAMILY.topic, FAMILY.job_name)
        return self.committed

    def first_offsets(self, topic: str) -> dict[int, int]:
        assert topic == FAMILY.topic
        return dict.fromkeys(range(FAMILY.topic_partitions), 0) | self.kept

    def published(self, topic: str, partition: int, span: range) -> list[int]:
        assert topic == FAMILY.topic
        assert span.start >= self.kept.get(partition, 0), "asked for what retention has removed"
        return sorted(offset for offset in self.records.get(partition, set()) if offset in span)


class Bench:
    """Writes as Flink, the collector and Spark do, and audits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.catalog = SqlCatalog("disk", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
        ensure_tables(self.catalog, (BRONZE, LETTERS, WINDOWS), commit_retries=10)
        self.broker = FakeBroker()
        location = f"file://{folder}/cursors"
        self.sources = Sources(
            self.catalog, self.broker, CursorStore(location, lambda: load_file_io({}, location))
        )
        self.checkpoint = 0

    def table(self, declared: Table = BRONZE) -> IcebergTable:
        return self.catalog.load_table(declared.identifier)

    def publish(self, *places: Place) -> None:
        """Records in Kafka that a consumer group has read."""
        for partition, offset in places:
            self.broker.records.setdefault(partition, set()).add(offset)
            self.broker.committed[partition] = max(self.broker.committed.get(partition, 0), offset + 1)

    def flink(self, *places: Place, checkpoint: int | None = None, published: bool = True) -> None:
        """A commit of the bronze rows with these places."""
        if published:
            self.publish(*places)
        rows = [row(BRONZE, kafka_partition=partition, kafka_offset=offset) for partition, offset in places]
        self.table().append(arrow(self.table(), rows), snapshot_properties=self.flink_summary(checkpoint))

    def flink_summary(self, checkpoint: int | None = None) -> dict[str, str]:
        self.checkpoint = self.checkpoint + 1 if checkpoint is None else checkpoint
        return {
            "flink.job-id": "job",
            "flink.operator-id": "operator",
            "flink.max-committed-checkpoint-id": str(self.checkpoint),
        }

    def commit_files(self, files: Iterable[DataFile], checkpoint: int | None = None) -> None:
        """A commit of files that are already written, as the sink does when it repeats a commit."""
        with (
            self.table().transaction() as transaction,
            transaction.update_snapshot(self.flink_summary(checkpoint)).fast_append() as append,
        ):
            for file in files:
                append.append_data_file(file)

    def newest_files(self) -> list[DataFile]:
        snapshot = self.table().current_snapshot()
        assert snapshot is not None
        return [
            entry.data_file
            for manifest in snapshot.manifests(self.table().io)
            for entry in manifest.fetch_manifest_entry(self.table().io)
            if entry.snapshot_id == snapshot.snapshot_id
        ]

    def windows(self, *minutes: int, sensor: str = "s") -> None:
        """A commit of windows that end so many minutes after the start."""
        rows = [
            row(
                WINDOWS,
                sensor_id=sensor,
                window_start=START + timedelta(minutes=minute - 1),
                window_end=START + timedelta(minutes=minute),
            )
            for minute in minutes
        ]
        table = self.table(WINDOWS)
        table.append(arrow(table, rows), snapshot_properties=self.flink_summary())

    def collect(
        self,
        *letters: Place,
        ends: dict[int, int] | None = None,
        topic: str = FAMILY.topic,
        error_class: str = "not_json",
    ) -> None:
        """The collector stores these dead letters and moves to the current snapshot."""
        bronze = self.table()
        snapshot = bronze.current_snapshot()
        places = bronze.scan(selected_fields=("kafka_partition", "kafka_offset")).to_arrow().to_pylist()
        found = [(place["kafka_partition"], place["kafka_offset"]) for place in places] + list(letters)
        next_offsets = {
            partition: max(offset + 1 for number, offset in found if number == partition) for partition, _ in found
        }
        position = {
            "table_uuid": str(bronze.metadata.table_uuid),
            "snapshot_id": str(snapshot.snapshot_id) if snapshot else None,
            "sequence_number": (snapshot.sequence_number or 0) if snapshot else 0,
            "next_offsets": {str(number): end for number, end in (next_offsets | (ends or {})).items()},
        }
        rows = [
            row(LETTERS, topic=topic, error_class=error_class, kafka_partition=partition, kafka_offset=offset)
            for partition, offset in letters
        ]
        table = self.table(LETTERS)
        with table.transaction() as transaction:
            if rows:
                transaction.append(arrow(table, rows))
            transaction.set_properties({f"collector.position.{FAMILY.name}": json.dumps(position)})

    def rewrite(self, *, drop: int = 0) -> None:
        """Compaction of the whole table into one file; ``drop`` rows get lost on the way."""
        table = self.table()
        rows = table.scan().to_arrow()
        table.overwrite(rows.slice(drop))
        # PyIceberg overwrites in two commits and cannot say `replace`: its metadata is edited
        self._edit(lambda snapshots: [s["summary"].update(operation="replace") for s in snapshots[-2:]])

    def edit_summary(self, **changes: str) -> None:
        """Change what the newest snapshot says of itself."""
        self._edit(lambda snapshots: snapshots[-1]["summary"].update(changes))

    def _edit(self, change: Any) -> None:
        path = Path(urlparse(self.table().metadata_location).path)
        metadata = json.loads(path.read_bytes())
        change(metadata["snapshots"])
        path.write_text(json.dumps(metadata))

    def expire(self, *, keep: int) -> None:
        """Expire all but the newest snapshots of the bronze table."""
        old = [snapshot.snapshot_id for snapshot in self.table().snapshots()[:-keep]]
        self.table().maintenance.expire_snapshots().by_ids(old).commit()

    def places(self) -> list[Place]:
        rows = self.table().scan().to_arrow().to_pylist()
        return sorted((found["kafka_partition"], found["kafka_offset"]) for found in rows)

    def audit(self, *, full: bool = False) -> TableAudit:
        return audit_table(self.sources, FAMILY, full=full, wait_s=0, progress=silent)


def row(declared: Table, **values: Any) -> dict[str, Any]:
    """A row of plausible values, but for those given."""
    return {column.name: values.get(column.name, VALUES[column.type]) for column in declared.columns}


def arrow(table: IcebergTable, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=table.schema().as_arrow())


def places(partition: int, *offsets: int) -> list[Place]:
    return [(partition, offset) for offset in offsets]
