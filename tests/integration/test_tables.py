"""Tables through time on a running stack: what Flink, Spark and PyIceberg wrote, and going back."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table as IcebergTable
from simulation import Simulation
from waiting import until

from contracts import bronze_events, family, gold_daily
from resources.branches import BranchError, create_branch, publish
from resources.catalog import open_catalog
from settings import Settings
from stack.jobs.state import load_state

FAMILY = family("energy")
BRONZE, GOLD = bronze_events(FAMILY), gold_daily(FAMILY)
LONG_AGO = datetime(2001, 4, 1, tzinfo=UTC)
"""A day that no run computes while this test runs."""
OWN_ROWS = "window_start < '2002-01-01T00:00:00+00:00'"


@pytest.fixture(scope="module")
def catalog(settings: Settings) -> Catalog:
    return open_catalog(settings)


@pytest.fixture
def gold(catalog: Catalog) -> Iterator[IcebergTable]:
    """The gold table, which ends up without what the test wrote."""
    yield catalog.load_table(GOLD.identifier)
    table = catalog.load_table(GOLD.identifier)
    for name in set(table.metadata.refs) - {"main"}:
        table.manage_snapshots().remove_branch(name).commit()
    table.delete(OWN_ROWS)


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stack", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run(
        command, capture_output=True, text=True, cwd=root, env=environment, check=False, stdin=subprocess.DEVNULL
    )


def answer(root: Path, *arguments: str) -> dict[str, Any]:
    done = run(root, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def append(gold: IcebergTable, sensor: str, *, day: int = 0, branch: str = "main") -> str:
    fill = {"string": sensor, "timestamp": LONG_AGO + timedelta(days=day)}
    row = {c.name: fill.get(c.type, 1) for c in GOLD.columns if not c.nullable}
    gold.refresh()
    rows = pa.Table.from_pylist([row], gold.schema().as_arrow())
    gold.append(rows, branch=branch, snapshot_properties={"lakehouse.run-id": f"run-of-{sensor}"})
    return str(gold.metadata.refs[branch].snapshot_id)


def sensors(gold: IcebergTable) -> list[str]:
    gold.refresh()
    return sorted(gold.scan(OWN_ROWS).to_arrow()["sensor_id"].to_pylist())


def test_the_history_of_bronze_names_each_checkpoint_and_is_not_rolled_back(
    settings: Settings, catalog: Catalog, root: Path
) -> None:
    def of_job() -> list[dict[str, Any]]:
        snapshots = answer(root, "table", BRONZE.identifier, "history")["snapshots"]
        return [entry for entry in snapshots if entry["written_by"]["job_id"] == job_id and entry["added_rows"]]

    job_id = load_state(settings, FAMILY.name).job_id
    simulation = Simulation(settings, FAMILY)
    try:
        until(lambda: len(of_job()) >= 3, "commits of the job")
    finally:
        simulation.end()
    newest, *older = of_job()
    checkpoints = [entry["written_by"]["checkpoint_id"] for entry in (newest, *older)]
    assert all(entry["in_main"] and entry["operation"] == "append" for entry in (newest, *older))
    assert checkpoints == sorted(set(checkpoints), reverse=True)
    bronze = catalog.load_table(BRONZE.identifier)

    def rows(entry: dict[str, Any]) -> int:
        scan = bronze.scan(snapshot_id=int(entry["snapshot_id"]), selected_fields=("kafka_offset",))
        return scan.to_arrow().num_rows

    bronze.refresh()
    assert newest["total_rows"] == rows(newest)
    found = answer(root, "table", BRONZE.identifier, "diff", older[-1]["snapshot_id"], newest["snapshot_id"])
    assert (found["before"]["rows"], found["after"]["rows"]) == (rows(older[-1]), rows(newest))
    assert found["columns"] == []
    assert sum(file["rows"] for file in found["files_added"]) == rows(newest) - rows(older[-1])

    refused = run(root, "table", BRONZE.identifier, "rollback", older[-1]["snapshot_id"], "--yes")
    assert refused.returncode == 1
    assert "is written by a stream (flink)" in refused.stderr
    bronze.refresh()
    current = bronze.current_snapshot()
    assert current is not None
    assert (current.sequence_number or 0) >= max(s.sequence_number or 0 for s in bronze.snapshots())


def test_a_gold_table_goes_back_and_nothing_brings_it_forward_by_accident(root: Path, gold: IcebergTable) -> None:
    # a day each, so that scheduled maintenance finds nothing to join and commits nothing in between
    first = append(gold, "a", day=1)
    second = append(gold, "b", day=2)
    create_branch(gold, "run_before")
    append(gold, "c", day=3, branch="run_before")
    shown = answer(root, "table", GOLD.identifier, "history", "--limit", "3")["snapshots"]
    assert [entry["written_by"]["run_id"] for entry in shown] == ["run-of-c", "run-of-b", "run-of-a"]
    assert [(entry["branches"], entry["in_main"]) for entry in shown] == [
        (["run_before"], False), (["main"], True), ([], True)
    ]  # fmt: skip

    unasked = run(root, "table", GOLD.identifier, "rollback", first)
    assert unasked.returncode == 1
    assert "--yes" in unasked.stderr
    assert sensors(gold) == ["a", "b"]
    done = answer(root, "table", GOLD.identifier, "rollback", first, "--yes")
    assert (done["was"], done["now"], done["undone"]) == (second, first, [second])
    assert done["branches"] == ["run_before"]
    assert sensors(gold) == ["a"]
    with pytest.raises(BranchError, match="rollback"):
        publish(gold, "run_before")
    create_branch(gold, "run_after")
    append(gold, "d", day=4, branch="run_after")
    publish(gold, "run_after")
    assert sensors(gold) == ["a", "d"]
    again = run(root, "table", GOLD.identifier, "rollback", second, "--yes")
    assert again.returncode == 1
    assert "was rolled back" in again.stderr


def test_compaction_by_spark_shows_as_nothing_but_other_files(root: Path, gold: IcebergTable) -> None:
    append(gold, "a")
    second = append(gold, "b")
    # where scheduled maintenance came first, this finds it done
    answer(root, "maintain", GOLD.identifier)
    found = answer(root, "table", GOLD.identifier, "diff", second, "main")
    assert found["only_rewritten"]
    [day] = [day for day in found["days"] if day["day"] == LONG_AGO.date().isoformat()]
    assert (day["before"]["rows"], day["after"]["rows"]) == (2, 2)
    assert (day["before"]["files"], day["after"]["files"]) == (2, 1)
    newest = answer(root, "table", GOLD.identifier, "history", "--limit", "1")["snapshots"][0]
    assert newest["operation"] == "replace"
    text = run(root, "table", GOLD.identifier, "diff", second, "main").stdout
    assert text.splitlines()[-1] == "only files were rewritten (compaction): the rows are the same"
