"""Rows that ``event-json`` writes, held against what Flink's own JSON makes of the same rows."""

import json
import os
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

from settings import Settings
from stack.local.services.flink import client_environment

SIDE = Path(__file__).with_name("written_rows.py")

PLAIN = [
    "'Marienplatz'",
    "TRUE",
    "7",
    "9007199254740993",
    "12.5",
    "TIMESTAMP '2026-03-02 06:00:00.123456'",
    "TIMESTAMP '2026-03-02 06:00:00.123'",
]
UNUSUAL_TEXT = ["'quote\" back\\ slash/ tab\t bell\u0007 \u2028'", "'Straße 東京 \U0001f6a6'", "''", "'null'"]
UNUSUAL_NUMBERS = [
    ["-2147483648", "-9223372036854775808", "-0.0"],
    ["2147483647", "9223372036854775807", "1.7976931348623157E308"],
    ["0", "0", "4.9E-324"],
]
UNUSUAL_TIMES = [
    "TIMESTAMP '1969-12-31 23:59:59.999999'",
    "TIMESTAMP '1970-01-01 00:00:00'",
    "TIMESTAMP '2024-02-29 12:00:00.000001'",
    "TIMESTAMP '2024-02-29 12:00:00.1'",
    "TIMESTAMP '9999-12-31 23:59:59.999'",
]
ROWS = [
    PLAIN,
    ["NULL"] * len(PLAIN),
    *([text, *PLAIN[1:]] for text in UNUSUAL_TEXT),
    *([PLAIN[0], "FALSE", *numbers, *PLAIN[5:]] for numbers in UNUSUAL_NUMBERS),
    *([*PLAIN[:5], time, time] for time in UNUSUAL_TIMES),
]


def test_rows_are_written_as_flinks_own_json_means_them(settings: Settings, root: Path, tmp_path: Path) -> None:
    java_home = Path(os.environ["JAVA_HOME"])
    numbered = [[str(number), *row] for number, row in enumerate(ROWS)]
    run = subprocess.run(
        [settings.toolchain / "streaming" / "bin" / "python", SIDE, tmp_path, json.dumps(numbered)],
        cwd=root,
        env=os.environ | client_environment(settings, java_home),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr

    expected, written = _written(tmp_path / "json"), _written(tmp_path / "event-json")
    assert sorted(expected) == list(range(len(ROWS)))
    assert written == expected


def _written(folder: Path) -> dict[int, dict[str, Any]]:
    """The rows by their number, which may come in any order."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith((".", "_")))
    lines = [line for path in files for line in path.read_text().rstrip("\n").split("\n")]
    rows = {row["number"]: _values(row) for row in map(json.loads, lines)}
    assert len(rows) == len(lines)
    return rows


def _values(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its times as instants: how many decimals they are written with is free."""
    return {
        name: datetime.fromisoformat(value) if value is not None and name.endswith("_time") else value
        for name, value in row.items()
    }
