"""The latency benchmark in small: every probe arrives, and the parts of its way are in their order."""

import json
import os
import subprocess
from pathlib import Path

from settings import Settings

RATE, SECONDS, PROBES_PER_S = 300, 4, 20


def test_every_probe_is_readable_and_its_way_is_told(settings: Settings, root: Path) -> None:
    command = [root / "lakehouse", "bench", "latency", "--rate", str(RATE), "--duration", str(SECONDS)]
    run = subprocess.run(
        [*command, "--warm-up", "1", "--sensors", "30", "--json"],
        env=os.environ | {"LAKEHOUSE_HOME": str(settings.home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout.splitlines()[-1])

    assert (report["probes"], report["lost"]) == (SECONDS * PROBES_PER_S, 0)
    assert report["p50_ms"] <= report["p95_ms"] <= report["p99_ms"] <= report["p999_ms"] <= report["max_ms"]
    # each was in Redis before it was seen; only some of the probes tell, so that medians need not be in that order
    assert report["acknowledged_p50_ms"] > 0
    assert 0 < report["written"] <= report["probes"]
    assert 0 < report["written_p50_ms"] <= report["written_p99_ms"]
    assert report["written_p99_ms"] <= report["max_ms"] + 1
    assert {"flink-taskmanager", "kafka", "redis", "load generator"} <= report["cpu_share"].keys()
