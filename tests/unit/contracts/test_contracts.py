"""What holds for every contract."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import contracts
from contracts import Aggregate, Column, ColumnType, ContractError, Family, Measure
from resources.iceberg_schema import iceberg_schema, partition_spec, sort_order
from streaming import sql

ISSUED_COLUMNS = {
    "traffic": {"vehicle_count", "avg_speed_kmh", "occupancy_ratio"},
    "weather": {
        "temperature_c",
        "humidity_pct",
        "pressure_hpa",
        "wind_speed_ms",
        "wind_direction_deg",
        "precipitation_mm",
    },
    "energy": {"active_power_kw", "energy_kwh", "voltage_v", "frequency_hz", "power_factor"},
}
COMMON = {"event_id", "sensor_id", "event_time", "zone", "latitude", "longitude"}


@pytest.mark.parametrize("family", contracts.families(), ids=lambda family: family.name)
def test_events_carry_what_was_agreed(family: Family) -> None:
    columns = {column.name for column in contracts.bronze_events(family).columns}
    assert columns >= COMMON | ISSUED_COLUMNS[family.name] | {"kafka_partition", "kafka_offset", "kafka_time"}
    assert all(measure.unit and measure.minimum is not None for measure in family.measures)


@pytest.mark.parametrize("table", contracts.all_tables(), ids=lambda table: table.identifier)
def test_iceberg_schema_says_what_the_contract_says(table: contracts.Table) -> None:
    schema = iceberg_schema(table)
    assert [field.name for field in schema.fields] == [column.name for column in table.columns]
    assert [field.required for field in schema.fields] == [not column.nullable for column in table.columns]
    assert len(partition_spec(table).fields) == len(table.partitioning)
    assert [schema.find_field(field.source_id).name for field in sort_order(table).fields] == [*table.sort_order]


@pytest.mark.parametrize("table", contracts.all_tables(), ids=lambda table: table.identifier)
def test_every_table_is_derived_from_something_declared(table: contracts.Table) -> None:
    topics = {f"topic:{family.topic}" for family in contracts.families()}
    known = topics | {other.identifier for other in contracts.all_tables()}
    assert set(table.derived_from) <= known
    assert table.identifier not in table.derived_from


@pytest.mark.parametrize("family", contracts.families(), ids=lambda family: family.name)
def test_flink_writes_every_column_in_order(family: Family) -> None:
    for table, windows in (
        (contracts.silver_1m(family), sql.insert_tumbling(family)),
        (contracts.silver_5m(family), sql.insert_sliding(family)),
    ):
        positions = [windows.index(f" AS `{column.name}`") for column in table.columns]
        assert positions == sorted(positions)
    assert sql.insert_bronze(family).count("CAST(") == len(contracts.bronze_events(family).columns)


def test_an_unknown_name_is_told_with_what_exists() -> None:
    with pytest.raises(ContractError, match="choose one of energy, traffic, weather"):
        contracts.family("noise")
    with pytest.raises(ContractError, match=r"bronze\.noise_events"):
        contracts.table("bronze.noise_events")


names = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True).filter(str.isidentifier)


@given(st.lists(names, min_size=1, max_size=6, unique=True))
def test_each_measure_becomes_five_columns(measures: list[str]) -> None:
    family = Family(
        name="noise",
        description="Noise",
        owners=("team:noise",),
        zones=("north",),
        measures=tuple(Measure(f"m_{name}", ColumnType.DOUBLE, "Level", unit="dB") for name in measures),
    )
    for table in (contracts.silver_1m(family), contracts.gold_hourly(family)):
        rolled = [column for column in table.columns if column.name.startswith("m_")]
        assert len(rolled) == 5 * len(measures)
        functions = {column.aggregation.function for column in rolled if column.aggregation}
        assert functions == {Aggregate.COUNT, Aggregate.MIN, Aggregate.MAX, Aggregate.MEAN, Aggregate.LAST}


def test_a_counter_has_its_growth_in_gold_alone() -> None:
    energy = contracts.family("energy")
    for table in (contracts.gold_hourly(energy), contracts.gold_daily(energy)):
        grown = [c for c in table.columns if c.aggregation and c.aggregation.function is Aggregate.INCREASE]
        assert [(c.name, c.unit, c.nullable) for c in grown] == [("energy_kwh_increase", "kWh", True)]
    assert "energy_kwh_increase" not in {column.name for column in contracts.silver_1m(energy).columns}


@given(st.floats(-10, 10), st.floats(-10, 10))
def test_a_range_upside_down_is_refused(minimum: float, maximum: float) -> None:
    if minimum <= maximum:
        assert Column("level", ColumnType.DOUBLE, "Level", minimum=minimum, maximum=maximum).maximum == maximum
    else:
        with pytest.raises(ContractError, match="is above maximum"):
            Column("level", ColumnType.DOUBLE, "Level", minimum=minimum, maximum=maximum)
