"""Gold assets on real Spark, catalog and store; expectations are computed by DuckDB from the events written."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import in_process
import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot
from pytest import approx

from contracts import ColumnType, Table, bronze_events, family, gold_hourly
from lakehouse_assets.gold.assets import window_asset
from resources import branches as branches_module
from resources.branches import BranchError
from resources.catalog import open_catalog
from resources.dagster_client import DagsterClient, DagsterError, RunFailedError
from settings import Settings

FAMILY = family("weather")
BRONZE, GOLD = bronze_events(FAMILY), gold_hourly(FAMILY)
FIRST = date(2001, 2, 26)
"""Days that no stream writes to: 26 February to 2 March 2001, the third without events."""
LAST = FIRST + timedelta(days=4)
NO_PARTITION = 99
"""The topic has none of this number, and these offsets have no gap: no collector looks for what lies between."""
EMPTY = FIRST + timedelta(days=2)
MEASURES = [measure.name for measure in FAMILY.measures]
RANGES = [(measure.minimum or 0, measure.maximum or 0) for measure in FAMILY.measures]


KILLED_RUN = """
import os, signal, sys
from datetime import date
import dagster as dg
from unittest import mock
from contracts import bronze_events, family, gold_hourly
from lakehouse_assets.connections import catalog_resource, settings_resource, spark_resource
from lakehouse_assets.gold.assets import window_asset
member = family("weather")
where, first, last = sys.argv[1:]
resources = {"settings": settings_resource, "catalog": catalog_resource, "spark": spark_resource}
asset = window_asset(gold_hourly(member), bronze_events(member))
job = dg.Definitions([asset], jobs=[dg.define_asset_job("one")], resources=resources).resolve_job_def("one")
tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
with mock.patch(where, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)):
    job.execute_in_process(tags=tags)
"""
"""A run whose process is killed where the function would be called."""


def random_events(seed: int, count: int) -> list[dict[str, Any]]:
    """Events with nulls, copies that arrive later, ties in time, and the first and last instant of a day."""
    rng = random.Random(seed)
    days = [FIRST + timedelta(days=offset) for offset in range(5) if FIRST + timedelta(days=offset) != EMPTY]
    rows = []
    for number in range(count):
        start = datetime.combine(rng.choice(days), time(), UTC)
        within = rng.choice(
            [0, 86_400_000_000 - 1, rng.randrange(86_400) * 1_000_000, rng.randrange(86_400_000_000)]
        )
        row: dict[str, Any] = {
            "event_id": f"{seed}-{number}",
            "sensor_id": f"station-{rng.randrange(3)}",
            "event_time": start + timedelta(microseconds=within),
            "zone": rng.choice(["north", "south", None]),
            "latitude": 52.5,
            "longitude": 13.4,
        }
        row |= {
            name: None if rng.random() < 0.2 else rng.uniform(*valid)
            for name, valid in zip(MEASURES, RANGES, strict=True)
        }
        rows.append(row)
    copies = [dict(row) for row in rng.sample(rows, count // 10)]
    for copy in copies:
        copy["zone"] = "copy"
    for offset, row in enumerate(rows + copies):
        row |= {
            "kafka_partition": NO_PARTITION,
            "kafka_offset": offset,
            "kafka_time": datetime(2001, 3, 9, tzinfo=UTC),
        }
    return rows + copies


@pytest.fixture(scope="module")
def catalog(settings: Settings) -> Catalog:
    return open_catalog(settings)


@pytest.fixture
def bronze(catalog: Catalog) -> Iterator[IcebergTable]:
    """The bronze table, whose days of this test end up as they were: empty."""
    yield catalog.load_table(BRONZE.identifier)
    for declared in (BRONZE, GOLD):
        catalog.load_table(declared.identifier).delete(days_filter(declared.event_time, FIRST, LAST))


def days_filter(column: str, first: date, last: date) -> str:
    return f"{column} >= '{first}T00:00:00+00:00' and {column} < '{last + timedelta(days=1)}T00:00:00+00:00'"


def append(bronze: IcebergTable, rows: list[dict[str, Any]]) -> None:
    bronze.append(pa.Table.from_pylist(rows, schema=bronze.schema().as_arrow()))


def gold_rows(catalog: Catalog, first: date = FIRST, last: date = LAST) -> list[dict[str, Any]]:
    table = catalog.load_table(GOLD.identifier)
    rows = table.scan(days_filter("window_start", first, last)).to_arrow().to_pylist()
    return sorted(rows, key=lambda row: (row["sensor_id"], row["window_start"]))


def expected_rows(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same aggregates by DuckDB, written out without the contract's help."""
    types = {ColumnType.STRING: pa.string(), ColumnType.DOUBLE: pa.float64(), ColumnType.LONG: pa.int64(),
             ColumnType.INT: pa.int32(), ColumnType.TIMESTAMP: pa.timestamp("us", "UTC")}  # fmt: skip
    events_table = pa.Table.from_pylist(
        events, schema=pa.schema([(c.name, types[c.type]) for c in BRONZE.columns])
    )
    aggregates = ", ".join(
        f"count({m}) AS {m}_count, min({m}) AS {m}_min, max({m}) AS {m}_max, sum({m}) / count({m}) AS {m}_mean, "
        f"last({m} ORDER BY event_time, kafka_offset) FILTER ({m} IS NOT NULL) AS {m}_last"
        for m in MEASURES
    )
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("events", events_table)
        return (
            connection.sql(
                f"""
                WITH firsts AS (SELECT DISTINCT ON (event_id) * FROM events ORDER BY event_id, kafka_offset)
                SELECT sensor_id, date_trunc('hour', event_time) AS window_start,
                       date_trunc('hour', event_time) + INTERVAL 1 HOUR AS window_end,
                       last(zone ORDER BY event_time, kafka_offset) FILTER (zone IS NOT NULL) AS zone,
                       count(*) AS event_count, {aggregates}
                FROM firsts GROUP BY ALL ORDER BY sensor_id, window_start
                """
            )
            .to_arrow_table()
            .to_pylist()
        )


def assert_same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert [(row["sensor_id"], row["window_start"]) for row in found] == [
        (row["sensor_id"], row["window_start"]) for row in expected
    ]
    for found_row, expected_row in zip(found, expected, strict=True):
        assert set(found_row) == set(expected_row)
        for name, value in expected_row.items():
            # engines add in different orders, so that means differ in the last digits
            is_mean = name.endswith("_mean") and value is not None
            assert found_row[name] == (approx(value, rel=1e-12) if is_mean else value), name


def materialize(
    settings: Settings, first: date, last: date, declared: Table = GOLD, *, raise_on_error: bool = True
) -> dg.ExecuteInProcessResult:
    return in_process.materialize(
        settings, window_asset(declared, BRONZE), first, last, raise_on_error=raise_on_error
    )


def materializations(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    return {
        str(event.partition): {name: value.value for name, value in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
    }


def test_a_range_as_one_run_equals_what_duckdb_computes(
    settings: Settings, catalog: Catalog, bronze: IcebergTable
) -> None:
    events = random_events(seed=1, count=600)
    append(bronze, events)
    expected = expected_rows(events)

    result = materialize(settings, FIRST, LAST)
    assert_same(gold_rows(catalog), expected)

    by_day = materializations(result)
    assert list(by_day) == [(FIRST + timedelta(days=offset)).isoformat() for offset in range(5)]
    for day, metadata in by_day.items():
        rows = [row for row in expected if row["window_start"].date().isoformat() == day]
        assert metadata["dagster/partition_row_count"] == len(rows)
        assert metadata["events"] == sum(row["event_count"] for row in rows)
        assert metadata["events_read"] == 660
        assert metadata["duplicates_dropped"] == 60
        assert metadata["rows_written"] == len(expected)
    table = catalog.load_table(GOLD.identifier)
    assert by_day[FIRST.isoformat()]["snapshot_written"] == str(table.current_snapshot().snapshot_id)  # type: ignore[union-attr]
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert checks["contract"].passed
    assert checks["contract"].metadata["rows"].value == len(expected)
    assert not checks["volume"].passed
    assert checks["volume"].severity is dg.AssetCheckSeverity.WARN
    assert f"{EMPTY} has 0 rows" in str(checks["volume"].description)

    # a second run, day by day, changes nothing
    for offset in range(3):
        materialize(settings, FIRST + timedelta(days=offset), FIRST + timedelta(days=offset))
    assert_same(gold_rows(catalog), expected)


def test_a_day_that_lost_its_events_is_emptied_and_its_neighbours_stay(
    settings: Settings, catalog: Catalog, bronze: IcebergTable
) -> None:
    append(bronze, random_events(seed=2, count=200))
    materialize(settings, FIRST, LAST)
    before = gold_rows(catalog)
    gone = FIRST + timedelta(days=1)
    bronze.refresh()
    bronze.delete(days_filter("event_time", gone, gone))
    result = materialize(settings, gone, gone)
    assert gold_rows(catalog, gone, gone) == []
    assert gold_rows(catalog) == [row for row in before if row["window_start"].date() != gone]
    assert materializations(result)[gone.isoformat()]["dagster/partition_row_count"] == 0


def test_a_value_out_of_range_is_a_warning_that_names_the_row(
    settings: Settings, catalog: Catalog, bronze: IcebergTable
) -> None:
    [event] = [row for row in random_events(seed=3, count=1) if row["zone"] != "copy"]
    append(bronze, [event | {"humidity_pct": 140.0}, event | {"event_id": "good", "sensor_id": "another"}])
    result = materialize(settings, FIRST, LAST)
    [check] = [check for check in result.get_asset_check_evaluations() if check.check_name == "contract"]
    assert result.success
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    expectations = check.metadata["expectations"]
    assert isinstance(expectations, dg.TableMetadataValue)
    failed = {record.data["columns"]: record.data for record in expectations.records if not record.data["passed"]}
    assert set(failed) == {f"humidity_pct_{part}" for part in ("min", "max", "mean", "last")}
    assert all(event["sensor_id"] in str(record["failing_keys"]) for record in failed.values())


def branches(catalog: Catalog) -> list[str]:
    return sorted(name for name in catalog.load_table(GOLD.identifier).metadata.refs if name != "main")


@pytest.fixture
def no_branches(catalog: Catalog) -> Iterator[None]:
    yield
    for name in branches(catalog):
        catalog.load_table(GOLD.identifier).manage_snapshots().remove_branch(name).commit()


@pytest.mark.usefixtures("no_branches")
def test_what_fails_its_check_is_published_by_hand_or_never(
    settings: Settings, catalog: Catalog, bronze: IcebergTable, root: Path
) -> None:
    append(bronze, [row | {"zone": "north"} for row in random_events(seed=5, count=100)])
    materialize(settings, FIRST, LAST)
    assert branches(catalog) == []
    before = gold_rows(catalog)

    events = random_events(seed=6, count=100)
    bronze.refresh()
    bronze.delete(days_filter("event_time", FIRST, LAST))
    append(bronze, events)
    required_zone = tuple(replace(c, nullable=False) if c.name == "zone" else c for c in GOLD.columns)
    strict = replace(GOLD, columns=required_zone)
    result = materialize(settings, FIRST, LAST, strict, raise_on_error=False)
    assert not result.success
    [check] = [check for check in result.get_asset_check_evaluations() if check.check_name == "contract"]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.ERROR
    assert result.get_asset_materialization_events() == []
    assert gold_rows(catalog) == before

    [branch] = branches(catalog)
    [failure] = result.get_step_failure_events()
    assert branch in str(failure.event_specific_data)
    command = [sys.executable, "-m", "stack", "publish", GOLD.identifier, "--branch", branch]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert_same(gold_rows(catalog), expected_rows(events))
    assert branches(catalog) == []
    again = subprocess.run(command, capture_output=True, text=True, cwd=root, env=environment, check=False)
    assert again.returncode == 1
    assert "has no branch" in again.stderr


@pytest.mark.usefixtures("no_branches")
def test_a_run_does_not_publish_over_another(
    settings: Settings, catalog: Catalog, bronze: IcebergTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = random_events(seed=7, count=50)
    append(bronze, events)

    def after_another(table: IcebergTable, branch: str) -> Snapshot:
        monkeypatch.undo()
        materialize(settings, FIRST, LAST)
        return branches_module.publish(table, branch)

    monkeypatch.setattr("lakehouse_assets.gold.publish.publish", after_another)
    with pytest.raises(BranchError, match="was changed since branch"):
        materialize(settings, FIRST, FIRST)
    assert_same(gold_rows(catalog), expected_rows(events))


@pytest.mark.usefixtures("no_branches")
@pytest.mark.parametrize("where", ["lakehouse_assets.gold.recompute.recompute", "resources.branches.publish"])
def test_a_killed_run_leaves_readers_what_they_had(
    settings: Settings, catalog: Catalog, bronze: IcebergTable, where: str, root: Path
) -> None:
    first = random_events(seed=8, count=50)
    append(bronze, first)
    materialize(settings, FIRST, LAST)
    before = gold_rows(catalog)
    more = [row | {"kafka_offset": row["kafka_offset"] + len(first)} for row in random_events(seed=9, count=50)]
    append(bronze, more)

    killed = subprocess.run(
        [sys.executable, "-c", KILLED_RUN, where, FIRST.isoformat(), LAST.isoformat()],
        capture_output=True, text=True, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert gold_rows(catalog) == before
    materialize(settings, FIRST, LAST)
    assert sum(row["event_count"] for row in gold_rows(catalog)) == 100


def test_a_running_dagster_materializes_a_range_as_one_run(
    settings: Settings, catalog: Catalog, bronze: IcebergTable
) -> None:
    events = random_events(seed=4, count=100)
    append(bronze, events)
    seen: list[str] = []
    with DagsterClient(settings.dagster_url) as client:
        run_id = client.launch("gold_hourly", first=FIRST, last=LAST)
        client.wait(run_id, timeout_s=300, on_status=seen.append)
        assert client.status(run_id) == "SUCCESS"
    assert seen[-1] == "SUCCESS"
    assert len(set(seen)) == len(seen)
    assert_same(gold_rows(catalog), expected_rows(events))


def test_a_backfill_runs_its_days_in_ranges(
    settings: Settings, catalog: Catalog, bronze: IcebergTable, root: Path
) -> None:
    events = random_events(seed=10, count=100)
    append(bronze, events)

    def backfill(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "stack", "backfill", *arguments],
            capture_output=True, text=True, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, check=False,
        )  # fmt: skip

    days = ("--from", FIRST.isoformat(), "--to", LAST.isoformat())
    done = backfill("gold/weather_hourly", *days, "--days-per-run", "3", "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout.splitlines()[-1])["runs"]) == 2
    assert_same(gold_rows(catalog), expected_rows(events))

    refused = backfill("bronze/weather_events", *days)
    assert refused.returncode == 1
    assert "gold/weather_hourly" in refused.stderr


def test_a_failed_run_says_which_step_failed_and_why(settings: Settings) -> None:
    with DagsterClient(settings.dagster_url) as client:
        run_id = client.launch("gold_hourly", first=date(1999, 12, 31))
        with pytest.raises(RunFailedError, match="1999-12-31"):
            client.wait(run_id, timeout_s=300)


def test_what_dagster_does_not_know_is_an_error_at_once(settings: Settings) -> None:
    with DagsterClient(settings.dagster_url) as client:
        with pytest.raises(DagsterError, match="no_such_job"):
            client.launch("no_such_job")
        with pytest.raises(DagsterError, match="00000000-0000-0000-0000-000000000000"):
            client.status("00000000-0000-0000-0000-000000000000")


def test_a_dagster_that_is_not_there_is_named() -> None:
    with DagsterClient("http://127.0.0.1:1") as client, pytest.raises(DagsterError, match=r"127\.0\.0\.1:1"):
        client.launch("gold_hourly", first=FIRST)
