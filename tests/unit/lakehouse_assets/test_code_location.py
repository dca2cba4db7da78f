"""The code location: it loads with nothing running, describes every table, and grows with the contracts."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from contracts import ContractError, all_tables, families, family, table
from contracts.tables import event_columns
from lakehouse_assets.definitions import defs
from lakehouse_assets.describe import table_key
from lakehouse_assets.gold.jobs import gold_hourly_schedule
from lakehouse_assets.gold.query import windows_query

ROOT = Path(__file__).resolve().parents[3]
GRAPH = defs.resolve_asset_graph()

LOAD_OFFLINE = """
import json, sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise SystemExit(f"loading the code location did {event} {arguments}")
sys.addaudithook(refuse)
from lakehouse_assets.definitions import defs
defs.get_repository_def().load_all_definitions()
heavy = {"pyspark", "great_expectations", "pyiceberg", "pyarrow", "pandas"}
print(json.dumps(sorted(heavy & set(sys.modules))))
"""

FOURTH_FAMILY = """
from contracts.model import ColumnType, Family, Measure
FAMILY = Family(
    name="noise", description="Microphones", owners=("team:health",), zones=("centre",),
    measures=(Measure("level_db", ColumnType.DOUBLE, "Sound level", unit="dB", minimum=0, maximum=194),),
)
"""

LOAD_WITH_FOURTH_FAMILY = """
import json, sys
import contracts.sensor_families
contracts.sensor_families.__path__.append(sys.argv[1])
from lakehouse_assets.definitions import defs
graph = defs.resolve_asset_graph()
print(json.dumps({
    "assets": [key.to_user_string() for key in graph.get_all_asset_keys()],
    "checks": [key.asset_key.to_user_string() for key in graph.asset_check_keys],
    "jobs": {
        name: [key.to_user_string() for key in defs.resolve_job_def(name).asset_layer.selected_asset_keys]
        for name in ("gold_hourly",)
    },
}))
"""


def run_python(code: str, *arguments: str) -> str:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, env=environment, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_loads_without_connection_environment_or_heavy_libraries() -> None:
    assert json.loads(run_python(LOAD_OFFLINE)) == []


def test_a_fourth_family_needs_a_contract_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "noise.py").write_text(FOURTH_FAMILY)
    loaded = json.loads(run_python(LOAD_WITH_FOURTH_FAMILY, str(tmp_path)))
    tables = {"bronze/noise_events", "silver/noise_1m", "gold/noise_hourly"}
    exposures = {"api/bronze.noise_events", "api/gold.noise_hourly", "api/noise.latest", "api/noise.windows"}
    streams = {"topic/sensors.noise", "topic/hot.noise", "hot_view/noise"}
    assert tables | streams | exposures <= set(loaded["assets"])
    assert tables <= set(loaded["checks"])
    assert "gold/noise_hourly" in loaded["jobs"]["gold_hourly"]


@pytest.mark.parametrize("declared", all_tables(), ids=lambda declared: declared.identifier)
def test_each_table_is_an_asset_with_what_its_contract_says(declared: dg.AssetSpec) -> None:
    node = GRAPH.get(table_key(declared))
    assert node.description == declared.description
    assert set(node.owners) == set(declared.owners)
    assert "iceberg" in node.kinds
    assert GRAPH.get_check_keys_for_assets({node.key}), "no check"
    policy = node.freshness_policy
    assert policy is not None
    assert policy.fail_window.to_timedelta() == declared.freshness.fail_after
    schema = node.metadata["dagster/column_schema"]
    assert [column.name for column in schema.columns] == [column.name for column in declared.columns]
    assert list(schema.constraints.other)[1:] == [str(rule) for rule in declared.rules]
    for column, shown in zip(declared.columns, schema.columns, strict=True):
        assert shown.constraints.nullable == column.nullable
        assert column.unit is None or f"[{column.unit}]" in shown.description


@pytest.mark.parametrize("member", families(), ids=lambda member: member.name)
def test_columns_lead_back_to_the_sensors(member) -> None:
    """Follow the column lineage from each measure's hourly mean to the topic."""
    published = {column.name for column in event_columns(member)}
    for measure in member.measures:
        key, column = table_key(table(f"gold.{member.name}_hourly")), f"{measure.name}_mean"
        trail = []
        while key != dg.AssetKey(["topic", member.topic]):
            [origin] = GRAPH.get(key).metadata["dagster/column_lineage"].deps_by_column[column]
            assert origin.asset_key in GRAPH.get(key).parent_keys
            key, column = origin.asset_key, origin.column_name
            trail.append(key.to_user_string())
        assert trail == [f"bronze/{member.name}_events", f"topic/{member.topic}"]
        assert column == measure.name
        assert column in published


@pytest.mark.parametrize(
    ("tick", "day"),
    [
        (datetime(2026, 3, 29, 13, 5, tzinfo=UTC), "2026-03-29"),
        (datetime(2026, 3, 30, 0, 5, tzinfo=UTC), "2026-03-29"),
        (datetime(2026, 3, 30, 1, 5, tzinfo=UTC), "2026-03-30"),
    ],
)
def test_the_schedule_asks_for_the_day_of_the_hour_that_ended(tick: datetime, day: str) -> None:
    requested = gold_hourly_schedule.evaluate_tick(
        dg.build_schedule_context(scheduled_execution_time=tick, repository_def=defs.get_repository_def())
    ).run_requests
    assert [request.partition_key for request in requested or ()] == [day]


def test_only_window_tables_are_aggregated() -> None:
    with pytest.raises(ContractError, match=r"bronze\.traffic_events"):
        windows_query(table("bronze.traffic_events"), "events")


def test_every_column_of_a_window_table_has_its_expression() -> None:
    for member in families():
        declared = table(f"gold.{family(member.name).name}_hourly")
        query = windows_query(declared, "events")
        assert [
            line.rsplit(" AS ", 1)[1].rstrip(",")
            for line in query.splitlines()
            if " AS " in line and not any(inner in line for inner in ("copy", "_step FROM", "_before FROM"))
        ] == [column.name for column in declared.columns]
