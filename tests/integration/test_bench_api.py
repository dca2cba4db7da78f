"""The API's benchmark in small: its answers are DuckDB's, the figures are there, and nothing is left of it."""

import json
import os
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from waiting import until

from benchmarks.stand_in import STAND_IN
from contracts import family
from resources.catalog import open_catalog
from settings import Settings
from sources.simulate import SimulationOptions, run_simulation

ROWS, FILES = 4000, 10
HOT = {
    "per_s",
    "bare_per_s",
    "framework_per_s",
    "ratio_to_bare",
    "ratio_to_framework",
    "rate",
    "p50_ms",
    "p99_ms",
    "max_ms",
    "body_bytes",
    "cpu_s_per_thousand",
    "generator_cpu_share",
}
PACED = {"rate", "requests", "p50_ms", "p99_ms", "max_ms"}


def bench(root: Path, *arguments: str) -> dict[str, Any]:
    command = [
        root / "lakehouse",
        "bench",
        "api",
        "--rows",
        str(ROWS),
        "--files",
        str(FILES),
        *arguments,
        "--json",
    ]
    run = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    report: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return report


@pytest.fixture(scope="module")
def _live_values(settings: Settings) -> None:
    options = SimulationOptions(families=(family("traffic"),), sensors=20, rate=100, duration=timedelta(seconds=3))
    run_simulation(options, settings)
    path = f"{settings.api_url}/v1/traffic/latest"
    headers = {"X-API-Key": settings.api_key.get_secret_value()}
    until(lambda: bool(httpx.get(path, headers=headers).json()["readings"]), "live values can be read")


@pytest.fixture
def _leaves_nothing(settings: Settings) -> Iterator[None]:
    yield
    assert not open_catalog(settings).table_exists(STAND_IN.identifier)
    assert {path.suffix for path in (settings.home / "bench").iterdir()} == {".log"}


@pytest.mark.usefixtures("_live_values", "_leaves_nothing")
def test_the_figures_are_there_and_the_rows_are_duckdbs(root: Path) -> None:
    report = bench(root, "--seconds", "0.6")
    assert report["point"]["equal"] is True
    assert (report["rows"], report["files"]) == (ROWS, FILES)
    assert report["start_up"].keys() == {"live_s", "ready_s"}
    for name in ("latest", "cached"):
        assert report[name].keys() == HOT
        assert report[name]["ratio_to_bare"] == pytest.approx(
            report[name]["per_s"] / report[name]["bare_per_s"], abs=0.01
        )
        assert report[name]["rate"] == pytest.approx(report[name]["per_s"] / 2, abs=0.1)
    assert report["not_modified"].keys() == PACED
    assert report["point"].keys() == {*PACED, "duckdb", "duckdb_planned", "equal"}
    # 20 a second for twice as long
    assert report["point"]["requests"] == 24
    assert report["arrow"].keys() == {"streams", "first_byte_ms", "max_first_byte_ms", "duckdb_first_batch_ms"}


@pytest.mark.usefixtures("_live_values", "_leaves_nothing")
def test_a_soak_answers_everything_and_tells_the_memory(root: Path) -> None:
    report = bench(root, "--soak", "0.1")
    assert report["requests"] == 300
    assert report["statuses"] == {"200": 300}
    assert (report["broken"], report["unanswered"]) == (0, 0)
    assert report["start_mib"] > 0
    assert report["peak_mib"] >= report["end_mib"]
    assert "slope_mib_per_hour" in report
