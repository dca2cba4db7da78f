"""What the upkeep of a table did is in the metadata of its asset."""

from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from contracts import table
from lakehouse_assets.maintenance.assets import maintenance_assets, maintenance_key
from maintenance.plan import Plan
from maintenance.run import TableMaintenance
from maintenance.statistics import TableStatistics

HOURLY = table("gold.weather_hourly")
KEY = maintenance_key(HOURLY)
COLUMNS = ["sensor_id", "window_start"]
PLAN = Plan(
    table=HOURLY.identifier, files=3, bytes=30, manifests=1, snapshots=2, compact=[], expire_before=None,
    expire_snapshots=0, rewrite_manifests=False, statistics=COLUMNS,
)  # fmt: skip
COUNTED = TableStatistics(
    file="s3://w/1.stats", snapshot_id=2**62 + 1, distinct={"sensor_id": 7, "window_start": 24}
)


@pytest.mark.parametrize("statistics", [None, COUNTED], ids=["dry run", "computed"])
def test_statistics_are_listed_when_due_and_described_when_computed(
    statistics: TableStatistics | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = TableMaintenance(plan=PLAN, statistics=statistics)
    monkeypatch.setattr("maintenance.run.maintain", lambda *_args, **_options: [done])
    [asset] = [each for each in maintenance_assets() if each.key == KEY]
    stub: Any = dg.ResourceDefinition.hardcoded_resource(SimpleNamespace())
    result = dg.materialize([asset], resources=dict.fromkeys(("settings", "catalog", "spark"), stub))
    [event] = result.asset_materializations_for_node(KEY.to_python_identifier())
    found = {name: value.value for name, value in event.metadata.items() if "stati" in name or "distinct" in name}
    described = {
        "statistics_file": COUNTED.file,
        "statistics_of_snapshot": "4611686018427387905",
        "distinct_values": COUNTED.distinct,
    }
    assert found == {"statistics_due": COLUMNS} | ({} if statistics is None else described)
