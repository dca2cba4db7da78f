"""Real measurements from file to gold: each hourly row equals what DuckDB computes from the file."""

import math
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import duckdb
import orjson
import pyarrow as pa
import pytest
from datasets import DATASETS, Dataset, expected_hours, open_rows
from pyiceberg.table import Table
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

import contracts
from resources.catalog import open_catalog
from resources.dagster_client import DagsterClient
from settings import Settings
from sources.ledger import Ledger
from sources.replay import ReplayOptions, run_replay

ARRIVAL_PATIENCE_S = 600
HEADER_LINES = 1
"""A rejected row is named by its line in the file."""
GOLD_PATIENCE_S = 1500


pytestmark = pytest.mark.timeout(2400)


@pytest.fixture(scope="module")
def test_data() -> Path:
    return Path(os.environ["LAKEHOUSE_TEST_DATA"])


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: dataset.family)
def test_gold_equals_the_aggregates_of_the_file(
    dataset: Dataset, settings: Settings, root: Path, test_data: Path, tmp_path: Path
) -> None:
    limit = None if os.environ.get("LAKEHOUSE_TEST_FULL") else dataset.slice_rows
    file = open_rows(dataset, test_data, tmp_path, limit)
    records_before = total_records(open_catalog(settings).load_table(f"bronze.{dataset.family}_events"))

    ledger = run_replay(
        ReplayOptions(
            path=test_data / dataset.path,
            family=contracts.family(dataset.family),
            mapping=root / "examples" / "mappings" / dataset.mapping,
            limit=limit,
        ),
        settings,
    )
    print(f"\n{dataset.family}: {ledger.acknowledged} events at {ledger.events_per_s:.0f}/s")

    assert_every_row_is_accounted_for(dataset, file, ledger)
    assert_bronze_holds_every_event_once(dataset, file, settings, ledger, records_before)
    materialize(dataset, file, settings)
    assert_gold_equals(dataset, expected_hours(dataset, file), settings)


def assert_every_row_is_accounted_for(dataset: Dataset, file: duckdb.DuckDBPyConnection, ledger: Ledger) -> None:
    (rows,) = file.execute("SELECT count(*) FROM rows").fetchone() or (0,)
    unusable = {number for (number,) in file.execute(dataset.rejected).fetchall()}
    assert ledger.acknowledged == rows - len(unusable)
    assert ledger.rejected == len(unusable)
    if unusable:
        assert ledger.rejected_file is not None
        lines = [orjson.loads(line) for line in ledger.rejected_file.read_bytes().splitlines()]
        assert {line["row"] - HEADER_LINES for line in lines} == unusable
        assert all(line["reason"] for line in lines)


def assert_bronze_holds_every_event_once(
    dataset: Dataset, file: duckdb.DuckDBPyConnection, settings: Settings, ledger: Ledger, records_before: int
) -> None:
    sensors = [sensor for (sensor,) in file.execute("SELECT DISTINCT sensor_id FROM events").fetchall()]
    table = open_catalog(settings).load_table(f"bronze.{dataset.family}_events")

    def arrived() -> pa.Table | None:
        # each day of the file is a file of the table: to read them takes a minute, what a snapshot says is quick
        if total_records(table.refresh()) < records_before + ledger.acknowledged:
            return None
        rows = table.scan(
            row_filter=one_of("sensor_id", sensors), selected_fields=("event_id", "event_time", "sensor_id")
        ).to_arrow()
        return None if len(rows) < ledger.acknowledged else rows

    bronze = Retrying(
        retry=retry_if_result(lambda rows: rows is None),
        stop=stop_after_delay(ARRIVAL_PATIENCE_S),
        wait=wait_fixed(2),
    )(arrived)
    assert len(bronze) == ledger.acknowledged
    file.register("bronze", bronze)
    differing = file.execute(
        "SELECT count(*) FROM ("
        "(SELECT sensor_id, event_time, count(*) FROM bronze GROUP BY ALL) EXCEPT "
        "(SELECT sensor_id, event_time, count(*) FROM events GROUP BY ALL))"
    ).fetchone()
    assert differing == (0,)
    assert file.execute("SELECT count(DISTINCT event_id) FROM bronze").fetchone() == (ledger.acknowledged,)


def total_records(table: Table) -> int:
    snapshot = table.current_snapshot()
    return 0 if snapshot is None or snapshot.summary is None else int(snapshot.summary["total-records"] or 0)


def materialize(dataset: Dataset, file: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    first, last = file.execute("SELECT min(event_time)::DATE, max(event_time)::DATE FROM events").fetchone() or ()
    with DagsterClient(settings.dagster_url) as client:
        run_id = client.launch_assets([("gold", f"{dataset.family}_hourly")], first=first, last=last)
        client.wait(run_id, timeout_s=GOLD_PATIENCE_S, on_status=lambda status: print(f"gold: {status}"))


def assert_gold_equals(dataset: Dataset, expected: Sequence[tuple[object, ...]], settings: Settings) -> None:
    columns = ["sensor_id", "window_start", "event_count"]
    for measure in dataset.measures:
        columns += [f"{measure}_{function}" for function in ("count", "min", "max", "mean", "last")]
    sensors = sorted({str(row[0]) for row in expected})
    gold = (
        open_catalog(settings)
        .load_table(f"gold.{dataset.family}_hourly")
        .scan(row_filter=one_of("sensor_id", sensors), selected_fields=tuple(columns))
        .to_arrow()
        .select(columns)
        .sort_by([("sensor_id", "ascending"), ("window_start", "ascending")])
    )
    actual = list(zip(*(gold[name].to_pylist() for name in columns), strict=True))
    assert len(actual) == len(expected)
    for found, wanted in zip(actual, expected, strict=True):
        assert all(same(*pair) for pair in zip(found, wanted, strict=True)), f"{found} is not {wanted}"


def same(found: object, wanted: object) -> bool:
    if isinstance(found, float) and isinstance(wanted, int | float):
        # the order of a sum differs between engines, and so may its last digits
        return math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-9)
    if isinstance(found, datetime) and isinstance(wanted, datetime):
        return found.timestamp() == wanted.timestamp()
    return found == wanted


def one_of(column: str, values: Sequence[str]) -> str:
    return " or ".join(f"{column} = '{value}'" for value in values)
