"""A setting alone moves the assets to another Spark, and they compute there what they compute here."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyspark.sql import SparkSession
from spark_elsewhere import BRONZE, DAY, ENERGY, GOLD
from spark_servers import HOST, SMALL, connect, standalone

from lakehouse_assets.gold.publish import begin_branch
from lakehouse_assets.gold.query import windows_recipe
from lakehouse_assets.gold.recompute import recompute
from resources.catalog import ensure_tables, open_catalog
from settings import Settings

SENSORS, MINUTES = 5, 24 * 60
PROGRAM = Path(__file__).with_name("spark_elsewhere.py")


@pytest.fixture
def catalog(settings: Settings) -> Iterator[Catalog]:
    opened = open_catalog(settings)
    ensure_tables(opened, (BRONZE, GOLD), commit_retries=settings.commit_retries)
    yield opened
    for declared in (BRONZE, GOLD):
        opened.purge_table(declared.identifier)


def events() -> list[dict[str, Any]]:
    """A day of one event a minute, and of the first twenty a copy; the counter begins anew at noon."""
    numbers = [*range(MINUTES), *range(20)]
    return [
        {
            "event_id": str(number),
            "sensor_id": f"meter-{number % SENSORS}",
            "event_time": DAY + timedelta(minutes=number),
            "zone": "north" if number % SENSORS else None,
            "kafka_partition": 0,
            "kafka_offset": offset,
            "kafka_time": DAY,
        }
        # within the range of the measure, and of a sum that does not depend on the order
        | {measure.name: (measure.minimum or 0.0) + number % 7 / 8 for measure in ENERGY.measures}
        | {"energy_kwh": float(number % (MINUTES // 2))}
        for offset, number in enumerate(numbers)
    ]


def compute_at(master: str, root: Path, **conf: str) -> None:
    """Run the asset in a process that has nothing but its environment to tell it where Spark is."""
    environment = os.environ | {
        "LAKEHOUSE_SPARK_MASTER": master,
        "LAKEHOUSE_SPARK_DRIVER_HOST": HOST,
        "LAKEHOUSE_SPARK_DRIVER_MEMORY": SMALL,
        "LAKEHOUSE_SPARK_CONF": json.dumps({"spark.sql.shuffle.partitions": "2"} | conf),
        "SPARK_LOCAL_IP": HOST,
        "PYTHONPATH": str(root),
    }
    if master.startswith("sc://"):
        environment["JAVA_HOME"] = "/nowhere"  # a client needs no JVM
    done = subprocess.run(
        [sys.executable, PROGRAM], capture_output=True, text=True, cwd=root, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-6000:]


def rows(catalog: Catalog, snapshot_id: int | None = None) -> list[dict[str, Any]]:
    found = catalog.load_table(GOLD.identifier).scan(snapshot_id=snapshot_id).to_arrow().to_pylist()
    return sorted(found, key=lambda row: (row["sensor_id"], row["window_start"]))


@pytest.fixture
def expected(settings: Settings, catalog: Catalog, session: SparkSession) -> list[dict[str, Any]]:
    """The rows as Spark computes them in this process; readers of the table do not see them."""
    bronze = catalog.load_table(BRONZE.identifier)
    bronze.append(pa.Table.from_pylist(events(), schema=bronze.schema().as_arrow()))
    done = recompute(
        session,
        catalog,
        settings,
        windows_recipe(GOLD, BRONZE),
        start=DAY,
        end=DAY + timedelta(days=1),
        branch=begin_branch(catalog, GOLD, "here"),
        run_id="here",
    )
    found = rows(catalog, done.snapshot_written)
    assert sum(row["event_count"] for row in found) == MINUTES
    assert rows(catalog) == []
    return found


def test_executors_of_a_standalone_master_compute_the_same_rows(
    expected: list[dict[str, Any]], catalog: Catalog, root: Path, tmp_path: Path
) -> None:
    with standalone(tmp_path) as (master, status):
        compute_at(master, root, **{"spark.executor.memory": SMALL})
        [ran] = httpx.get(status, timeout=60).json()["completedapps"]
    assert (ran["name"], ran["state"]) == ("lakehouse", "FINISHED")
    assert rows(catalog) == expected


@pytest.mark.skipif(find_spec("grpc_status") is None, reason="the environment lacks pyspark[connect]")
def test_a_spark_connect_server_computes_the_same_rows(
    expected: list[dict[str, Any]], settings: Settings, catalog: Catalog, root: Path, tmp_path: Path
) -> None:
    with connect(tmp_path, settings) as server:
        compute_at(server, root)
    assert rows(catalog) == expected
