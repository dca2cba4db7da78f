"""What the API must not bring along, seen in a process of its own."""

import subprocess
import sys


def test_the_api_imports_no_engine_and_starts_without_pandas() -> None:
    script = "import sys, api.app; print(*sys.modules, *{name.partition('.')[0] for name in sys.modules})"
    starting = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "pyiceberg" in starting
    assert not {"dagster", "pyspark", "pyflink", "great_expectations", "pandas"} & set(starting)
    # for who sets them up; FastAPI and redis bring other parts of OpenTelemetry along
    traces = {f"opentelemetry.{name}" for name in ("sdk.trace", "exporter", "proto", "instrumentation")}
    assert not {"jwt", *traces} & set(starting)


def test_reading_rows_imports_no_engine_either() -> None:
    script = "import sys, api.rows.service; print(*{name.partition('.')[0] for name in sys.modules})"
    reading = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "pyarrow" in reading
    assert not {"dagster", "pyspark", "pyflink", "great_expectations"} & set(reading)
