"""The Spark session of a run is opened for as many days as the run computes."""

from typing import Any

import dagster as dg
import pytest

from lakehouse_assets.connections import spark_resource
from resources import spark


@pytest.mark.parametrize(
    ("tags", "days"),
    [
        ({}, 1),
        ({"dagster/partition": "2026-02-28"}, 1),
        (
            {
                "dagster/asset_partition_range_start": "2026-02-28",
                "dagster/asset_partition_range_end": "2026-03-02",
            },
            3,
        ),
    ],
)
def test_spark_knows_how_many_days_a_run_is_for(
    tags: dict[str, str], days: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def config(_settings: Any, *, days: int) -> dict[str, str]:
        asked.append(days)
        return {}

    monkeypatch.setattr(spark, "spark_config", config)

    @dg.op(required_resource_keys={"spark"})
    def use() -> None:
        """Spark starts at its first use, and this is none."""

    @dg.job(resource_defs={"spark": spark_resource, "settings": dg.ResourceDefinition.none_resource()})
    def computes() -> None:
        use()

    assert computes.execute_in_process(tags=tags).success
    assert asked == [days]
