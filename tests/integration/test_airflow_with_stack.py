"""The exported daily DAG against the running stack: a partition of gold comes to be, with its checks."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from airflow_environment import Airflow
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from pyiceberg.catalog import Catalog

from contracts import ColumnType, bronze_events, family, gold_hourly
from lakehouse_assets.airflow_export.pools import pool_limits
from lakehouse_assets.airflow_export.read import read_export
from lakehouse_assets.airflow_export.render import AirflowVersion, render
from lakehouse_assets.definitions import defs
from lakehouse_assets.describe import table_key
from lakehouse_assets.freshness_checks import CHECK_NAME as EVENT_TIME_LAG
from resources.catalog import open_catalog
from settings import Settings
from stack.cli import toolchain_folder

FAMILY = family("weather")
BRONZE, GOLD = bronze_events(FAMILY), gold_hourly(FAMILY)
DAY = datetime(2008, 5, 5, tzinfo=UTC)
"""That no stream writes to, nor another test."""
HOURS = (10, 10, 15)
TICK = DAY + timedelta(days=1, minutes=25)
NO_PARTITION = 99
"""The topic has none of this number: no collector looks for what lies between its offsets."""


@pytest.fixture
def catalog(settings: Settings) -> Iterator[Catalog]:
    """The catalog, whose tables end up as they were on the day of this test: empty."""
    catalog = open_catalog(settings)
    yield catalog
    for declared in (BRONZE, GOLD):
        column, end = declared.event_time, DAY + timedelta(days=1)
        catalog.load_table(declared.identifier).delete(
            f"{column} >= '{DAY.isoformat()}' and {column} < '{end.isoformat()}'"
        )


@pytest.fixture
def instance(settings: Settings) -> dg.DagsterInstance:
    """What the stack's Dagster has stored."""
    return dg.DagsterInstance.from_config(str(settings.home / "dagster"))


def append_events(catalog: Catalog) -> None:
    """One event in each of the hours."""
    values: dict[ColumnType, Any] = {
        ColumnType.STRING: "s", ColumnType.DOUBLE: 1.0, ColumnType.LONG: 1, ColumnType.INT: 1,
    }  # fmt: skip
    table, rows = catalog.load_table(BRONZE.identifier), []
    for offset, hour in enumerate(HOURS):
        at = DAY + timedelta(hours=hour, minutes=offset)
        row = {column.name: values.get(column.type, at) for column in BRONZE.columns}
        for column in BRONZE.columns:
            if column.minimum is not None:
                row[column.name] = type(row[column.name])(max(column.minimum, 1))
        rows.append(
            row
            | {
                "zone": FAMILY.zones[0],
                "event_id": str(offset),
                "kafka_partition": NO_PARTITION,
                "kafka_offset": offset,
            }
        )
    table.append(pa.Table.from_pylist(rows, schema=table.schema().as_arrow()))


def test_the_exported_daily_dag_computes_a_day_of_gold_with_its_checks(
    settings: Settings, catalog: Catalog, instance: dg.DagsterInstance, tmp_path_factory: pytest.TempPathFactory
) -> None:
    append_events(catalog)
    # as the sensor does once the stream has come that far
    instance.report_runless_asset_event(
        dg.AssetMaterialization(table_key(BRONZE), metadata={"watermark": dg.MetadataValue.timestamp(TICK)})
    )
    key = table_key(GOLD)
    airflow = Airflow(toolchain_folder(), tmp_path_factory.mktemp("on_stack") / "home", settings.dagster_url)
    export = read_export(defs, select=f'key:"{key.to_user_string()}"', limits=pool_limits())
    airflow.install(render(export, AirflowVersion.THREE, settings.dagster_url))
    found, log = airflow.run("gold_daily_after_midnight", TICK.isoformat())
    name = ".".join(key.path)
    assert found["tasks"] == {
        f"{'.'.join(table_key(BRONZE).path)}.reaches": "success",
        name: "success",
        f"{name}.checks": "success",
    }
    rows = (
        catalog.load_table(GOLD.identifier)
        .scan(f"window_start >= '{DAY.isoformat()}' and window_start < '{(DAY + timedelta(days=1)).isoformat()}'")
        .to_arrow()
        .to_pylist()
    )
    counted = {row["window_start"].astimezone(UTC).hour: row["event_count"] for row in rows}
    assert counted == {hour: HOURS.count(hour) for hour in HOURS}
    partition = f"{DAY:%Y-%m-%d}"
    [event] = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition]), limit=1
    ).records
    run = instance.get_run_by_id(event.run_id)
    assert run is not None
    assert run.tags["airflow/task"].startswith("gold_daily_after_midnight/")
    assert event.run_id in log, "the log links to the run"
    job = defs.get_repository_def().get_job("gold_daily")
    checks = [check for check in job.asset_layer.asset_graph.asset_check_keys if check.asset_key == key]
    assert len(checks) > 1
    for check in checks:
        [latest] = instance.event_log_storage.get_asset_check_execution_history(check, limit=1)
        assert latest.run_id == event.run_id, check
        assert f"check {check.name} of {key.to_user_string()} " in log
        if check.name != EVENT_TIME_LAG:  # of a day long ago
            assert latest.status is AssetCheckExecutionRecordStatus.SUCCEEDED, check
