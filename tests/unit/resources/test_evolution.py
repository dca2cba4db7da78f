"""Tables follow their contracts, and what they held stays readable."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from contracts import Column, ColumnType, Table, bronze_events, family
from resources.catalog import SchemaMismatchError, ensure_tables

EVENTS = bronze_events(family("traffic"))
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def changed(name: str, **attributes: Any) -> Table:
    """The table with another declaration of one column."""
    columns = (replace(column, **attributes) if column.name == name else column for column in EVENTS.columns)
    return replace(EVENTS, columns=tuple(columns))


@pytest.fixture
def catalog(tmp_path: Path) -> SqlCatalog:
    return SqlCatalog("disk", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}")


def evolve(catalog: SqlCatalog, declared: Table) -> list[str]:
    return ensure_tables(catalog, [declared], commit_retries=3)


def append(catalog: SqlCatalog, **values: Any) -> None:
    table = catalog.load_table(EVENTS.identifier)
    row = {"event_id": "e", "sensor_id": "s", "event_time": NOON, "kafka_time": NOON}
    row |= {"kafka_partition": 0, "kafka_offset": 0} | values
    table.append(pa.Table.from_pylist([row], schema=table.schema().as_arrow()))


def column(catalog: SqlCatalog, name: str) -> list[Any]:
    return catalog.load_table(EVENTS.identifier).scan().to_arrow()[name].to_pylist()


def test_a_column_that_is_new_is_null_in_old_rows(catalog: SqlCatalog) -> None:
    evolve(catalog, EVENTS)
    append(catalog)
    lanes = Column("lanes", ColumnType.INT, "Lanes of the road", unit="1", nullable=True)
    wider = replace(EVENTS, columns=(*EVENTS.columns, lanes))
    assert evolve(catalog, wider) == ["added bronze.traffic_events.lanes"]
    append(catalog, lanes=3, kafka_offset=1)
    assert sorted(column(catalog, "lanes"), key=str) == [3, None]
    assert evolve(catalog, wider) == []
    # a checkout that does not know the column leaves it
    assert evolve(catalog, EVENTS) == []
    assert "lanes" in catalog.load_table(EVENTS.identifier).schema().column_names


def test_a_wider_type_reads_what_was_written_before(catalog: SqlCatalog) -> None:
    evolve(catalog, changed("vehicle_count", type=ColumnType.INT))
    append(catalog, vehicle_count=7)
    before = catalog.load_table(EVENTS.identifier).current_snapshot()
    assert before is not None
    assert evolve(catalog, EVENTS) == ["widened bronze.traffic_events.vehicle_count from int to long"]
    append(catalog, vehicle_count=2**40, kafka_offset=1)
    assert sorted(column(catalog, "vehicle_count")) == [7, 2**40]
    old = catalog.load_table(EVENTS.identifier).scan(snapshot_id=before.snapshot_id).to_arrow()
    assert old.schema.field("vehicle_count").type == pa.int32()
    assert old["vehicle_count"].to_pylist() == [7]


def test_a_value_that_is_no_longer_required_may_be_missing(catalog: SqlCatalog) -> None:
    evolve(catalog, changed("zone", nullable=False))
    append(catalog, zone="north")
    assert evolve(catalog, EVENTS) == ["made bronze.traffic_events.zone nullable"]
    append(catalog, kafka_offset=1)
    assert sorted(column(catalog, "zone"), key=str) == [None, "north"]


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("kafka_offset", ColumnType.INT),  # narrower
        ("zone", ColumnType.DOUBLE),
        ("avg_speed_kmh", ColumnType.STRING),
        ("vehicle_count", ColumnType.DOUBLE),
        ("event_time", ColumnType.LONG),
    ],
)
def test_a_type_that_changed_under_us_is_refused_and_nothing_changes(
    catalog: SqlCatalog, name: str, other: ColumnType
) -> None:
    evolve(catalog, EVENTS)
    before = catalog.load_table(EVENTS.identifier).metadata
    new = Column("lanes", ColumnType.INT, "Lanes of the road", unit="1", nullable=True)
    declared = changed(name, type=other)
    with pytest.raises(SchemaMismatchError, match=f"{name} is .* in the catalog and .* in the contract"):
        evolve(catalog, replace(declared, columns=(new, *declared.columns)))
    assert catalog.load_table(EVENTS.identifier).metadata == before


def test_a_new_column_that_is_required_is_refused(catalog: SqlCatalog) -> None:
    evolve(catalog, EVENTS)
    lanes = Column("lanes", ColumnType.INT, "Lanes of the road", unit="1")
    with pytest.raises(SchemaMismatchError, match="make it nullable"):
        evolve(catalog, replace(EVENTS, columns=(*EVENTS.columns, lanes)))
