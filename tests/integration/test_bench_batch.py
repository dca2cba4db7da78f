"""The backfill benchmark in small: two engines agree on every row, and the figures are there."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.cli import toolchain_folder


@pytest.fixture
def home() -> Iterator[Path]:
    """A short path: a Unix socket lies below it."""
    made = Path(tempfile.mkdtemp(prefix="lakehouse-bench-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def test_spark_and_duckdb_agree_on_every_row(home: Path, root: Path) -> None:
    environment = os.environ | {"LAKEHOUSE_HOME": str(home), "LAKEHOUSE_TOOLCHAIN": str(toolchain_folder())}
    command = [root / "lakehouse", "bench", "batch", "--days", "2", "--events-per-day", "2000", "--json"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout.splitlines()[-1])

    assert report["equal"] is True
    assert report["differing"] == []
    assert report["days"] == 2
    # some sensors are silent and some events come twice
    assert report["events"] == pytest.approx(3 * 2 * 2000, rel=0.05)
    assert 0 < report["rows"] < report["events"]
    assert report["ratio"] == pytest.approx(report["spark_s"] / report["duckdb_s"], rel=0.1)
    assert report["per_day"]["spark_s"] == pytest.approx(report["spark_s"] / 2, abs=0.01)
    assert report["spark_cpu_s_per_million"] > 0
    assert report["duckdb_cpu_s_per_million"] > 0
    assert not (home / "bench").exists()
