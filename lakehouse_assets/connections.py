"""Dagster resources: settings, catalog and Spark, each opened by the first run or tick that needs it."""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import TYPE_CHECKING

import dagster as dg

from lakehouse_assets.gold.partitions import RANGE_END, RANGE_START
from settings import Settings, load_settings

if TYPE_CHECKING:
    from dagster_pyspark import LazyPySparkResource
    from pyiceberg.catalog import Catalog


@dg.resource(description="Settings of the platform, read from the environment")
def settings_resource(_context: dg.InitResourceContext) -> Settings:
    """Settings of the process that runs the step or tick."""
    return load_settings()


@dg.resource(required_resource_keys={"settings"}, description="Iceberg catalog")
def catalog_resource(context: dg.InitResourceContext) -> "Catalog":
    """The Iceberg catalog, read through PyIceberg."""
    from resources.catalog import open_catalog  # a code location loads without it

    return open_catalog(context.resources.settings)


@dg.resource(required_resource_keys={"settings"}, description="Spark session, started at its first use")
def spark_resource(context: dg.InitResourceContext) -> Iterator["LazyPySparkResource"]:
    """One Spark session for all steps of a run, stopped when the run ends."""
    from dagster_pyspark import LazyPySparkResource  # imports Spark
    from pyspark.sql import SparkSession

    from resources.spark import spark_config

    tags = {} if context.run is None else context.run.tags
    yield LazyPySparkResource(spark_config=spark_config(context.resources.settings, days=_days(tags)))
    if (session := SparkSession.getActiveSession()) is not None:
        session.stop()


def _days(tags: Mapping[str, str]) -> int:
    """How many daily partitions a run with these tags is for; 1 where it names no range."""
    first, last = tags.get(RANGE_START), tags.get(RANGE_END)
    if first is None or last is None:
        return 1
    return (date.fromisoformat(last) - date.fromisoformat(first)).days + 1
