"""A run of one day of a gold table in a process of its own, on the Spark that its environment names.

Also run as a program: the JVM of a session stays as long as its process.
"""

from dataclasses import replace
from datetime import UTC, datetime

from in_process import materialize

from contracts import bronze_events, family, gold_hourly
from lakehouse_assets.connections import spark_resource
from lakehouse_assets.gold.assets import window_asset
from settings import load_settings

ENERGY = family("energy")
BRONZE = replace(bronze_events(ENERGY), name="elsewhere_events")
GOLD = replace(gold_hourly(ENERGY), name="elsewhere_hourly")
DAY = datetime(2001, 7, 2, tzinfo=UTC)


def main() -> None:
    """Compute, check and publish :data:`DAY`."""
    materialize(load_settings(), window_asset(GOLD, BRONZE), DAY.date(), DAY.date(), spark=spark_resource)


if __name__ == "__main__":
    main()
