"""A gold table whose contract changes between two runs, read by Spark as it is and as it was."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from in_process import materialize
from pyiceberg.catalog import Catalog
from pyiceberg.types import DoubleType
from pyspark.sql import SparkSession

from contracts import bronze_events, family, gold_hourly
from lakehouse_assets.gold.assets import window_asset
from resources.catalog import ensure_tables, open_catalog
from resources.spark import connect_catalog
from settings import Settings

WEATHER = family("weather")
BRONZE = replace(bronze_events(WEATHER), name="evolving_events")
GOLD = replace(gold_hourly(WEATHER), name="evolving_hourly")
DAY = datetime(2005, 4, 1, tzinfo=UTC)
RETIRED = ("pressure_hpa_last", "pressure_hpa_count")
RENAMED = replace(GOLD.column("temperature_c_mean"), name="temperature_c", formerly=("temperature_c_mean",))
CHANGED = replace(
    GOLD,
    columns=(RENAMED, *(c for c in GOLD.columns[::-1] if c.name not in {*RETIRED, "temperature_c_mean"})),
    retired=RETIRED,
)


@pytest.fixture
def catalog(settings: Settings) -> Iterator[Catalog]:
    catalog = open_catalog(settings)
    ensure_tables(catalog, [BRONZE, GOLD], commit_retries=settings.commit_retries)
    yield catalog
    for declared in (BRONZE, GOLD):
        catalog.purge_table(declared.identifier)


def publish(catalog: Catalog, day: datetime, **values: float) -> None:
    bronze = catalog.load_table(BRONZE.identifier)
    row: dict[str, Any] = {"event_id": str(day), "sensor_id": "s", "event_time": day, "kafka_time": day}
    rows = [row | {"kafka_partition": 0, "kafka_offset": 0} | values]
    bronze.append(pa.Table.from_pylist(rows, schema=bronze.schema().as_arrow()))


def test_runs_go_on_after_columns_were_renamed_moved_and_dropped(
    settings: Settings, session: SparkSession, catalog: Catalog
) -> None:
    connect_catalog(session, settings)
    name = f"{settings.catalog_name}.{GOLD.identifier}"
    publish(catalog, DAY, temperature_c=20.0, humidity_pct=40.0, pressure_hpa=1000.0)
    assert materialize(settings, window_asset(GOLD, BRONZE), DAY.date(), DAY.date()).success
    before = session.table(name).collect()[0].asDict()
    current = catalog.load_table(GOLD.identifier).current_snapshot()
    assert current is not None

    ensure_tables(catalog, [CHANGED], commit_retries=settings.commit_retries)
    with catalog.load_table(GOLD.identifier).update_schema() as update:
        update.add_column("of_another_checkout", DoubleType()).move_first("of_another_checkout")
    second = DAY + timedelta(days=1)
    publish(catalog, second, temperature_c=21.0, humidity_pct=41.0, pressure_hpa=1001.0)
    assert materialize(settings, window_asset(CHANGED, BRONZE), second.date(), second.date()).success

    found = session.table(name).orderBy("window_start")
    assert found.columns == ["of_another_checkout", *(column.name for column in CHANGED.columns)]
    old, new = (row.asDict() for row in found.collect())
    kept = before.keys() - {"temperature_c_mean", *RETIRED}
    assert {key: old[key] for key in kept} == {key: before[key] for key in kept}
    assert (old["temperature_c"], new["temperature_c"]) == (20.0, 21.0)
    assert (new["humidity_pct_min"], new["pressure_hpa_max"], new["of_another_checkout"]) == (41.0, 1001.0, None)

    past = session.sql(f"SELECT * FROM {name} VERSION AS OF {current.snapshot_id}")
    assert past.columns == [column.name for column in GOLD.columns]
    assert [row.asDict() for row in past.collect()] == [before]
    assert (before["temperature_c_mean"], before["pressure_hpa_last"]) == (20.0, 1000.0)
