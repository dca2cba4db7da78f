"""Adding a family is adding one contract module: in a copy of the tree, nothing else is touched."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = (
    "contracts", "settings", "resources", "streaming", "sources", "audit", "maintenance",
    "lakehouse_assets", "api",
)  # fmt: skip

NOISE = '''"""Noise: microphones at street level."""

from contracts.model import ColumnType, Family, Measure
from contracts.zones import CITY_ZONES

FAMILY = Family(
    name="noise",
    description="Street-level microphones",
    owners=("team:environment",),
    zones=CITY_ZONES,
    measures=(
        Measure(
            "level_db", ColumnType.DOUBLE, "Equivalent continuous sound level",
            unit="dB", nullable=True, minimum=0, maximum=140,
        ),
    ),
)
'''

PROBE = """
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import contracts
from settings import Settings
from resources.iceberg_schema import iceberg_schema
from streaming import sql
from lakehouse_assets.definitions import defs
from api.app import create_app
from sources.simulate import SimulationOptions
from sources.simulate.run import family_events

secret = "x" * 20
settings = Settings(
    home=Path("."), toolchain=Path("."), s3_access_key=secret, s3_secret_key=secret, redis_password=secret,
    api_key=secret,
)
noise = contracts.family("noise")
start = datetime(2026, 1, 1, tzinfo=UTC)
options = SimulationOptions(families=(noise,), sensors=5, start=start, end=start + timedelta(minutes=5))
keys = {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()}
values = [
    json.loads(value).get("level_db")
    for batch in family_events(options, noise, start).records()
    for value in batch.payloads
]
print(json.dumps({
    "tables": [table.identifier for table in contracts.family_tables(noise)],
    "gold_columns": [field.name for field in iceberg_schema(contracts.gold_hourly(noise)).fields],
    "flink": sql.insert_tumbling(noise),
    "assets": sorted(key for key in keys if "noise" in key),
    "routes": [path for path in create_app(settings).openapi()["paths"] if "noise" in path],
    "values": values,
}))
"""


def test_one_module_is_all_that_a_family_needs(tmp_path: Path) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "contracts" / "sensor_families" / "noise.py").write_text(NOISE)
    answer = subprocess.run(
        [sys.executable, "-c", PROBE],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout.splitlines()[-1])
    assert found["tables"] == [
        "bronze.noise_events",
        "silver.noise_1m",
        "silver.noise_5m",
        "gold.noise_hourly",
        "gold.noise_daily",
    ]
    assert "level_db_mean" in found["gold_columns"]
    assert "AVG(`level_db`) AS `level_db_mean`" in found["flink"]
    assert {"bronze/noise_events", "silver/noise_1m", "gold/noise_hourly"} <= set(found["assets"])
    assert any("gold.noise_hourly/rows" in route for route in found["routes"])
    measured = [value for value in found["values"] if value is not None]
    assert measured
    assert all(0 <= value <= 140 for value in measured)
