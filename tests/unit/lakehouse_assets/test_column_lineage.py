"""Where columns come from: each column of each asset, back to what sensors publish."""

import re
from collections.abc import Iterator

import dagster as dg
import pytest

from contracts import Dataset, Table, all_datasets, all_tables, families
from lakehouse_assets.definitions import defs
from lakehouse_assets.describe import dataset_key, table_key
from lakehouse_assets.gold.recipes import gold_recipes
from streaming.hot_sql import create_readings_sink, create_zones_sink

GRAPH = defs.resolve_asset_graph()
DECLARED: dict[dg.AssetKey, Table | Dataset] = {table_key(table): table for table in all_tables()} | {
    dataset_key(dataset): dataset for dataset in all_datasets()
}
SOURCES = {dg.AssetKey(["topic", member.topic]) for member in families()}
ORIGINATE = {
    "bronze/dead_letters": {"family", "topic", "collected_at"},
    "silver/late_events": {"family"},
    "gold/sensor_health": {"family"},
    "gold/anomalies": {"family", "measure", "unit"},
    "gold/quality_results": {
        "checked_at", "table_name", "check_name", "passed", "severity", "row_count", "description", "failures",
        "run_id",
    },
}  # fmt: skip
"""What a writer makes itself: from its clock, the names of contracts, or Dagster's event log."""


def lineage(key: dg.AssetKey) -> dict[str, set[tuple[dg.AssetKey, str]]]:
    shown = GRAPH.get(key).metadata["dagster/column_lineage"].deps_by_column
    return {column: {(dep.asset_key, dep.column_name) for dep in deps} for column, deps in shown.items()}


def column_names(key: dg.AssetKey) -> set[str]:
    return {column.name for column in GRAPH.get(key).metadata["dagster/column_schema"].columns}


@pytest.mark.parametrize("key", sorted(DECLARED.keys() - SOURCES), ids=lambda key: key.to_user_string())
def test_each_column_has_an_origin_or_its_contract_says_that_it_has_none(key: dg.AssetKey) -> None:
    made = ORIGINATE.get(key.to_user_string(), set())
    assert column_names(key) - lineage(key).keys() == made
    declared = DECLARED[key]
    assert made == set(declared.originates if isinstance(declared, Table) else ())


@pytest.mark.parametrize("key", DECLARED, ids=lambda key: key.to_user_string())
def test_an_origin_is_a_column_of_an_asset_directly_upstream(key: dg.AssetKey) -> None:
    for column, origins in lineage(key).items():
        assert column in column_names(key)
        for upstream, name in origins:
            assert upstream in GRAPH.get(key).parent_keys
            assert name in column_names(upstream)


@pytest.mark.parametrize("key", sorted(DECLARED.keys() - SOURCES), ids=lambda key: key.to_user_string())
def test_each_trail_ends_at_a_sensor_or_at_a_writer(key: dg.AssetKey) -> None:
    def ends(at: dg.AssetKey, column: str) -> Iterator[tuple[dg.AssetKey, str]]:
        origins = lineage(at).get(column, set())
        if not origins:
            yield at, column
        for upstream, name in origins:
            yield from ends(upstream, name)

    for column in column_names(key):
        for end, name in ends(key, column):
            assert end in SOURCES or name in ORIGINATE[end.to_user_string()], f"{column} ends at {end} {name}"


@pytest.mark.parametrize("recipe", gold_recipes(), ids=lambda recipe: recipe.declared.identifier)
def test_spark_reads_the_columns_that_gold_comes_from(recipe) -> None:
    read = {(table_key(each.table), column) for each in recipe.inputs for column in each.columns}
    named = set().union(*lineage(table_key(recipe.declared)).values())
    assert named <= read
    # copies of an event are told apart by its place, and hours are joined by theirs
    unnamed = {name for _, name in read - named}
    steady_counters = {
        m.name for family in families() for m in family.measures if m.steady and "counter" in m.kind
    }
    assert unnamed <= {"kafka_partition", "kafka_offset", "event_id", "window_start"} | steady_counters


@pytest.mark.parametrize("member", families(), ids=lambda member: member.name)
def test_the_hot_topic_has_the_columns_that_flink_writes(member) -> None:
    statements = [
        create(member, bootstrap_servers="unused") for create in (create_readings_sink, create_zones_sink)
    ]
    written = {
        name for statement in statements for name in re.findall(r"^ +`(\w+)` [A-Z]", statement, re.MULTILINE)
    }
    assert column_names(dg.AssetKey(["topic", member.hot_topic])) == written - {"hot_key"}
