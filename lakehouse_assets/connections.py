"""Dagster resources: settings, catalog and Spark, each opened by the first run or tick that needs it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

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

    yield LazyPySparkResource(spark_config=spark_config(context.resources.settings))
    if (session := SparkSession.getActiveSession()) is not None:
        session.stop()
