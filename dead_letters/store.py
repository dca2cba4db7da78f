"""``bronze.dead_letters`` and the collector's position, which change in one commit."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.update import AssertRefSnapshotId, AssertTableUUID, SetPropertiesUpdate

from contracts import dead_letters, families
from dead_letters.classify import Defect
from dead_letters.errors import PositionError
from dead_letters.fetch import Record

TABLE = dead_letters(families())
POSITION_PROPERTY = "collector.position.{family}"


@dataclass(frozen=True, slots=True)
class Position:
    """How far a bronze table's topic is collected.

    Every offset of a partition below its next offset is in the bronze table at ``snapshot_id``, or in the dead
    letters, or held a control record or one of an aborted transaction. ``snapshot_id`` is ``None`` while the table
    has no snapshot.
    """

    table_uuid: str
    snapshot_id: str | None = None
    sequence_number: int = 0
    next_offsets: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record and what is wrong with it."""

    record: Record
    defect: Defect


def load(catalog: Catalog) -> IcebergTable:
    """The table of dead letters as it is now."""
    return catalog.load_table(TABLE.identifier)


def read_position(table: IcebergTable, family: str) -> Position | None:
    """The position of ``family`` that the last commit has left, if there is one.

    Raises:
        PositionError: the property does not hold a position.
    """
    name = POSITION_PROPERTY.format(family=family)
    text = table.properties.get(name)
    if text is None:
        return None
    try:
        stored = json.loads(text)
        return Position(
            table_uuid=str(stored["table_uuid"]),
            snapshot_id=None if stored["snapshot_id"] is None else str(stored["snapshot_id"]),
            sequence_number=int(stored["sequence_number"]),
            next_offsets={int(partition): int(offset) for partition, offset in stored["next_offsets"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PositionError(
            f"property {name} of {TABLE.identifier} is no position ({text!r}): remove it to collect anew, "
            "what is stored already is not stored again"
        ) from error


def commit(
    table: IcebergTable, family: str, batches: Iterable[Sequence[DeadLetter]], position: Position
) -> IcebergTable:
    """Append ``batches`` and set the position, in one commit that fails if the table was changed since.

    PyIceberg would otherwise rebase the rows on what another collector has written meanwhile, and they would be
    stored twice.

    Raises:
        CommitFailedException: the table has changed; load it and look again.
    """
    text = json.dumps(asdict(position), sort_keys=True)
    properties = {POSITION_PROPERTY.format(family=family): text}
    pinned = _without_rebase(table)
    with pinned.transaction() as transaction:
        has_rows = False
        for batch in batches:
            if batch:
                transaction.append(_arrow(table, family, batch))
                has_rows = True
        if has_rows:
            transaction.set_properties(properties)
    if not has_rows:
        head = table.current_snapshot()
        table.catalog.commit_table(
            table,
            requirements=(
                AssertTableUUID(uuid=table.metadata.table_uuid),
                AssertRefSnapshotId(ref=MAIN_BRANCH, snapshot_id=None if head is None else head.snapshot_id),
            ),
            updates=(SetPropertiesUpdate(updates=properties),),
        )
    return load(table.catalog)


def _without_rebase(table: IcebergTable) -> IcebergTable:
    properties = {**table.metadata.properties, "commit.retry.num-retries": "0"}
    metadata = table.metadata.model_copy(update={"properties": properties})
    return IcebergTable(table.name(), metadata, table.metadata_location, table.io, table.catalog, table.config)


def _arrow(table: IcebergTable, family: str, letters: Sequence[DeadLetter]) -> pa.Table:
    now = datetime.now(UTC)
    rows = [
        {
            "family": family,
            "topic": letter.record.topic,
            "kafka_partition": letter.record.partition,
            "kafka_offset": letter.record.offset,
            "kafka_time": letter.record.time,
            "kafka_key": letter.record.key,
            "payload": letter.record.value,
            "error_class": str(letter.defect.error_class),
            "error_field": letter.defect.field,
            "error_message": letter.defect.message,
            "collected_at": now,
        }
        for letter in letters
    ]
    return pa.Table.from_pylist(rows, schema=table.schema().as_arrow())
