"""Tables follow their contracts, and what they held stays readable."""

import random
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from contracts import (
    Column,
    ColumnType,
    ContractError,
    Family,
    Measure,
    MeasureKind,
    PartitionField,
    Table,
    Transform,
    bronze_events,
    city_hourly,
    family,
    family_tables,
)
from resources.catalog import ensure_tables
from resources.evolution import SchemaMismatchError

EVENTS = bronze_events(family("traffic"))
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def changed(name: str, /, **attributes: Any) -> Table:
    """The table with another declaration of one column."""
    columns = (replace(column, **attributes) if column.name == name else column for column in EVENTS.columns)
    return replace(EVENTS, columns=tuple(columns))


@pytest.fixture
def catalog(tmp_path: Path) -> SqlCatalog:
    return SqlCatalog("disk", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}")


def snapshot(catalog: SqlCatalog) -> int:
    current = catalog.load_table(EVENTS.identifier).current_snapshot()
    assert current is not None
    return current.snapshot_id


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


SPEED = EVENTS.column("avg_speed_kmh")
RENAMED = changed("avg_speed_kmh", name="mean_speed_kmh", formerly=("avg_speed_kmh",))
RETIRED = replace(
    EVENTS, columns=tuple(c for c in EVENTS.columns if c.name != "avg_speed_kmh"), retired=("avg_speed_kmh",)
)


def names(catalog: SqlCatalog) -> list[str]:
    return list(catalog.load_table(EVENTS.identifier).schema().column_names)


def declared_names(declared: Table) -> list[str]:
    return [column.name for column in declared.columns]


def old_rows(catalog: SqlCatalog, snapshot_id: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (
        catalog.load_table(EVENTS.identifier).scan(snapshot_id=snapshot_id).to_arrow().to_pylist()
    )
    return rows


def test_a_renamed_column_keeps_its_values(catalog: SqlCatalog) -> None:
    evolve(catalog, EVENTS)
    append(catalog, avg_speed_kmh=41.0)
    before = snapshot(catalog)
    assert evolve(catalog, RENAMED) == ["renamed bronze.traffic_events.avg_speed_kmh to mean_speed_kmh"]
    append(catalog, mean_speed_kmh=42.0, kafka_offset=1)
    assert sorted(column(catalog, "mean_speed_kmh")) == [41.0, 42.0]
    assert names(catalog) == declared_names(RENAMED)
    table = catalog.load_table(EVENTS.identifier)
    # the bounds in the metadata go with it
    assert table.scan("mean_speed_kmh < 41.5").to_arrow()["kafka_offset"].to_pylist() == [0]
    [old] = old_rows(catalog, before)
    assert old["avg_speed_kmh"] == 41.0
    assert "mean_speed_kmh" not in old
    assert evolve(catalog, RENAMED) == []


def test_a_table_that_missed_a_rename_catches_up(catalog: SqlCatalog) -> None:
    evolve(catalog, EVENTS)
    append(catalog, avg_speed_kmh=41.0)
    again = changed("avg_speed_kmh", name="speed_kmh", formerly=("avg_speed_kmh", "mean_speed_kmh"))
    assert evolve(catalog, again) == ["renamed bronze.traffic_events.avg_speed_kmh to speed_kmh"]
    assert column(catalog, "speed_kmh") == [41.0]


def test_a_column_under_two_of_its_names_is_refused_and_nothing_changes(catalog: SqlCatalog) -> None:
    both = replace(EVENTS, columns=(*EVENTS.columns, replace(SPEED, name="mean_speed_kmh")))
    evolve(catalog, both)
    before = catalog.load_table(EVENTS.identifier).metadata
    declared = replace(RENAMED, columns=RENAMED.columns[::-1], retired=("zone2",))
    with pytest.raises(SchemaMismatchError, match=r"mean_speed_kmh and avg_speed_kmh, .* `formerly` .* `retired`"):
        evolve(catalog, declared)
    assert catalog.load_table(EVENTS.identifier).metadata == before


@pytest.mark.parametrize("seed", range(4))
def test_columns_stand_in_the_order_of_the_contract(catalog: SqlCatalog, seed: int) -> None:
    evolve(catalog, EVENTS)
    values = {"latitude": 1.0, "longitude": 2.0, "avg_speed_kmh": 3.0, "occupancy_ratio": 0.5, "vehicle_count": 4}
    append(catalog, **values)
    before = snapshot(catalog)
    rng = random.Random(seed)
    other = replace(EVENTS, columns=tuple(rng.sample(EVENTS.columns, len(EVENTS.columns))))
    assert evolve(catalog, other) == ["ordered the columns of bronze.traffic_events"]
    assert names(catalog) == declared_names(other)
    append(catalog, **values, kafka_offset=1)
    for name, value in values.items():
        assert column(catalog, name) == [value, value]
    [old] = old_rows(catalog, before)
    assert list(old) == declared_names(EVENTS)
    assert old.items() >= values.items()
    assert evolve(catalog, other) == []


def test_a_column_is_added_where_the_contract_has_it(catalog: SqlCatalog) -> None:
    evolve(catalog, EVENTS)
    lanes = Column("lanes", ColumnType.INT, "Lanes of the road", unit="1", nullable=True)
    wider = replace(EVENTS, columns=(*EVENTS.columns[:4], lanes, *EVENTS.columns[4:]))
    assert evolve(catalog, wider) == [
        "added bronze.traffic_events.lanes",
        "ordered the columns of bronze.traffic_events",
    ]
    assert names(catalog) == declared_names(wider)
    # to a checkout that does not know it, the others stand as they should
    assert evolve(catalog, EVENTS) == []
    assert names(catalog) == declared_names(wider)


def test_a_column_is_dropped_only_where_the_contract_says_so(catalog: SqlCatalog) -> None:
    evolve(catalog, EVENTS)
    append(catalog, avg_speed_kmh=41.0, zone="north")
    before = snapshot(catalog)
    assert evolve(catalog, replace(RETIRED, retired=())) == []
    assert column(catalog, "avg_speed_kmh") == [41.0]
    assert evolve(catalog, RETIRED) == ["dropped bronze.traffic_events.avg_speed_kmh"]
    assert names(catalog) == declared_names(RETIRED)
    append(catalog, kafka_offset=1)
    assert sorted(column(catalog, "zone"), key=str) == [None, "north"]
    [old] = old_rows(catalog, before)
    assert old["avg_speed_kmh"] == 41.0
    assert evolve(catalog, RETIRED) == []
    # a column that comes back is another one: what the old one held is not its value
    assert evolve(catalog, EVENTS)[0] == "added bronze.traffic_events.avg_speed_kmh"
    assert column(catalog, "avg_speed_kmh") == [None, None]


def test_what_the_layout_needs_is_not_dropped(catalog: SqlCatalog) -> None:
    by_zone = (*EVENTS.partitioning, PartitionField("zone", Transform.IDENTITY))
    evolve(catalog, replace(EVENTS, partitioning=by_zone))
    before = catalog.load_table(EVENTS.identifier).metadata
    without = tuple(c for c in EVENTS.columns if c.name not in {"zone", "latitude"})
    with pytest.raises(SchemaMismatchError, match=r"zone cannot be dropped, .* take it out of `retired`"):
        evolve(catalog, replace(EVENTS, columns=without, retired=("latitude", "zone")))
    assert catalog.load_table(EVENTS.identifier).metadata == before


def test_a_required_column_that_nobody_writes_any_more_is_refused(catalog: SqlCatalog) -> None:
    evolve(catalog, changed("avg_speed_kmh", nullable=False))
    before = catalog.load_table(EVENTS.identifier).metadata
    with pytest.raises(SchemaMismatchError, match=r"avg_speed_kmh is required .* `retired` .* `formerly`"):
        evolve(catalog, replace(RETIRED, retired=()))
    assert catalog.load_table(EVENTS.identifier).metadata == before
    assert evolve(catalog, RETIRED) == ["dropped bronze.traffic_events.avg_speed_kmh"]
    append(catalog)


def test_all_at_once_is_one_commit(catalog: SqlCatalog) -> None:
    evolve(catalog, changed("vehicle_count", type=ColumnType.INT))
    append(catalog, vehicle_count=7, avg_speed_kmh=41.0, occupancy_ratio=0.5)
    before = len(catalog.load_table(EVENTS.identifier).metadata.metadata_log)
    lanes = Column("lanes", ColumnType.INT, "Lanes of the road", unit="1", nullable=True)
    columns = [c for c in RENAMED.columns if c.name not in {"occupancy_ratio", "vehicle_count"}]
    count = replace(EVENTS.column("vehicle_count"), name="vehicles", formerly=("vehicle_count",))
    declared = replace(EVENTS, columns=(count, lanes, *columns[::-1]), retired=("occupancy_ratio",))
    changes = evolve(catalog, declared)
    assert {change.split()[0] for change in changes} == {"added", "renamed", "widened", "dropped", "ordered"}
    assert len(catalog.load_table(EVENTS.identifier).metadata.metadata_log) == before + 1
    assert names(catalog) == declared_names(declared)
    append(catalog, vehicles=2**40, mean_speed_kmh=42.0, kafka_offset=1)
    assert sorted(column(catalog, "vehicles")) == [7, 2**40]
    assert sorted(column(catalog, "mean_speed_kmh")) == [41.0, 42.0]


def test_a_measure_takes_the_columns_of_all_tables_with_it(catalog: SqlCatalog) -> None:
    energy = family("energy")
    counter, *others = sorted(energy.measures, key=lambda measure: measure.kind != MeasureKind.COUNTER)
    renamed = replace(counter, name="work_kwh", formerly=(counter.name,))
    added = Measure("phase_deg", ColumnType.DOUBLE, "Angle of voltage and current", unit="deg", nullable=True)
    changed = replace(energy, measures=(added, renamed, *others[1:]), retired=(others[0].name,))

    def tables(member: Family) -> list[Table]:
        return [*family_tables(member), city_hourly((family("traffic"), member))]

    ensure_tables(catalog, tables(energy), commit_retries=3)
    ids = {each.identifier: catalog.load_table(each.identifier).schema() for each in tables(energy)}
    changes = ensure_tables(catalog, tables(changed), commit_retries=3)
    for each in tables(changed):
        schema = catalog.load_table(each.identifier).schema()
        assert list(schema.column_names) == declared_names(each)
        for name in schema.column_names:
            before = name.replace("work_kwh", counter.name)
            known = before if before in ids[each.identifier].column_names else None
            assert (known is None) == ("phase_deg" in name)
            if known is not None:
                assert schema.find_field(name).field_id == ids[each.identifier].find_field(known).field_id
    assert any("energy_work_kwh_increase" in change for change in changes)
    assert ensure_tables(catalog, tables(changed), commit_retries=3) == []


def test_a_new_family_finds_its_place_in_the_tables_of_the_city(catalog: SqlCatalog) -> None:
    traffic, weather, energy = map(family, ("traffic", "weather", "energy"))
    before, after = city_hourly((traffic, weather)), city_hourly((energy, traffic, weather))
    ensure_tables(catalog, [before], commit_retries=3)
    ensure_tables(catalog, [after], commit_retries=3)
    assert list(catalog.load_table(after.identifier).schema().column_names) == declared_names(after)


@pytest.mark.parametrize(
    ("formerly", "retired"), [(("latitude",), ()), ((), ("zone",)), (("area",), ("area",)), (("area", "area"), ())]
)
def test_a_name_stands_for_one_column(formerly: tuple[str, ...], retired: tuple[str, ...]) -> None:
    zone = replace(EVENTS.column("zone"), formerly=formerly)
    others = [column for column in EVENTS.columns if column.name != "zone"]
    with pytest.raises(ContractError, match="stands twice"):
        replace(EVENTS, columns=(*others, zone), retired=retired)


@pytest.mark.parametrize("name", ["event_time", "kafka_offset", "sensor_id"])
def test_what_files_are_found_by_is_not_renamed(name: str) -> None:
    with pytest.raises(ContractError, match=f"{name} cannot be renamed"):
        changed(name, formerly=("before",))
