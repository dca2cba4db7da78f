"""Spark: how a session is configured and how it reaches the Iceberg catalog."""

import logging
import signal
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from contracts import LakehouseError
from settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

POOL = "spark"
"""Dagster's pool of the assets that need a session."""
LOCAL_MASTER = "local"
LONG_RUN_DAYS = 3
"""Days of data from which on it pays to have the JVM optimise what it runs."""
LOGGING = Path(__file__).with_name("spark_log4j2.properties")


class SparkSetupError(LakehouseError):
    """Spark cannot be started as the settings say."""


def spark_config(settings: Settings, *, days: int = 1) -> dict[str, str]:
    """Configuration that a session starts with; it holds no secret, since it shows in the process list.

    Args:
        settings: of the platform.
        days: how many days of data the session is for.

    Raises:
        SparkSetupError: the Iceberg jars are not in the toolchain.
    """
    folder = settings.toolchain / "jars" / "spark"
    jars = sorted(folder.glob("*.jar"))
    if not jars:
        raise SparkSetupError(f"no jars in {folder}: `./lakehouse up` fetches them")
    class_path = ":".join(str(jar) for jar in jars)
    work = settings.home / "spark"
    config = {
        "spark.app.name": "lakehouse",
        "spark.master": settings.spark_master,
        "spark.driver.memory": settings.spark_driver_memory,
        # a class path, not spark.jars: that copies 150 MB into each session's work folder
        "spark.driver.extraClassPath": class_path,
        "spark.executor.extraClassPath": class_path,
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.warehouse.dir": str(work / "warehouse"),
        "spark.local.dir": str(work / "local"),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    if settings.spark_master.startswith(LOCAL_MASTER):
        config |= {
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.sql.shuffle.partitions": "4",
            "spark.driver.extraJavaOptions": " ".join(
                [
                    "-XX:+UseSerialGC",
                    f"-Dlog4j2.configurationFile={LOGGING.as_uri()}",
                    # optimising costs more than it saves in a run of a few million events: the first gold_hourly
                    # of a small day took 16 s of CPU instead of 33; later on it halves the CPU of each event
                    *(["-XX:TieredStopAtLevel=1"] if days < LONG_RUN_DAYS else []),
                ]
            ),
        }
    return config


def open_session(settings: Settings, *, days: int = 1) -> "SparkSession":
    """Start a session for so many days of data, or take the one that the process has.

    Its JVM stays as long as the process.

    Raises:
        SparkSetupError: the Iceberg jars are not in the toolchain.
    """
    from pyspark.sql import SparkSession  # takes a second to import

    builder = SparkSession.builder
    for name, value in spark_config(settings, days=days).items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def open_interruptible_session(settings: Settings, *, days: int = 1) -> "SparkSession":
    """As :func:`open_session`, for a command: Ctrl-C, and a termination, raise ``KeyboardInterrupt`` and no more.

    Raises:
        SparkSetupError: the Iceberg jars are not in the toolchain.
    """
    session = open_session(settings, days=days)
    # PySpark's own handler of Ctrl-C talks to the JVM in the middle of another talk
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    return session


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    logging.disable()  # the gateway to the JVM logs how it was interrupted
    raise KeyboardInterrupt


def connect_catalog(session: "SparkSession", settings: Settings) -> None:
    """Make the tables known to ``session`` as ``<catalog_name>.<namespace>.<table>``.

    The catalog opens at the first statement that names it, with the properties set here.
    """
    prefix = f"spark.sql.catalog.{settings.catalog_name}"
    access_key = settings.s3_access_key.get_secret_value()
    secret_key = settings.s3_secret_key.get_secret_value()
    properties = {
        "type": "rest",
        # a branch that was begun a moment ago must be seen
        "cache-enabled": "false",
        "uri": settings.catalog_uri,
        "warehouse": settings.warehouse,
        "rest.auth.type": "oauth2",
        "oauth2-server-uri": f"{settings.catalog_uri}/v1/oauth/tokens",
        "credential": f"{access_key}:{secret_key}",
        "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        "s3.endpoint": settings.s3_endpoint,
        "s3.access-key-id": access_key,
        "s3.secret-access-key": secret_key,
        "s3.path-style-access": "true",
        "client.region": settings.s3_region,
    }
    for name, value in properties.items():
        session.conf.set(f"{prefix}.{name}", value)
    session.conf.set(prefix, "org.apache.iceberg.spark.SparkCatalog")
