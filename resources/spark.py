"""Spark: how a session is configured and how it reaches the Iceberg catalog."""

import logging
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from contracts import LakehouseError
from resources import hadoop
from settings import Settings, SparkMode

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

POOL = "spark"
"""Dagster's pool of the assets that need a session."""
POOL_LIMIT = 1
"""Runs with a session at a time: a local one takes all cores."""
LONG_RUN_DAYS = 3
"""Days of data from which on it pays to have the JVM optimise what it runs."""
QUIET = f"-Dlog4j2.configurationFile={Path(__file__).with_name('spark_log4j2.properties').as_uri()}"


class SparkSetupError(LakehouseError):
    """Spark cannot be started as the settings say."""


def spark_config(settings: Settings, *, days: int = 1) -> dict[str, str]:
    """Configuration that a session starts with; it holds no secret, since it shows in the process list.

    Args:
        settings: of the platform.
        days: how many days of data the session is for.

    Raises:
        SparkSetupError: the Iceberg jars are not in the toolchain, or this environment cannot talk to a server.
    """
    session = {"spark.sql.session.timeZone": "UTC"}
    if settings.spark_mode is SparkMode.CONNECT:
        _require_connect()
        return session | {"spark.remote": settings.spark_master} | settings.spark_conf
    work = settings.home / "spark"
    config = session | {
        "spark.app.name": "lakehouse",
        "spark.master": settings.spark_master,
        "spark.driver.memory": settings.spark_driver_memory,
        "spark.sql.warehouse.dir": str(work / "warehouse"),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    if settings.spark_mode is SparkMode.LOCAL:
        config |= _within_this_process(settings, work, days)
    else:
        config |= _with_executors_elsewhere(settings)
    if settings.spark_mode is SparkMode.KUBERNETES:
        config |= _on_kubernetes(settings)
    return config | settings.spark_conf


def _within_this_process(settings: Settings, work: Path, days: int) -> dict[str, str]:
    return {
        # a class path, not spark.jars: that copies 150 MB into each session's work folder
        "spark.driver.extraClassPath": ":".join(map(str, (hadoop.DEFAULTS, *_jars(settings)))),
        "spark.local.dir": str(work / "local"),
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.shuffle.partitions": "4",
        "spark.driver.extraJavaOptions": " ".join(
            [
                "-XX:+UseSerialGC",
                QUIET,
                # optimising costs more than it saves in a run of a few million events: the first gold_hourly
                # of a small day took 16 s of CPU instead of 33; later on it halves the CPU of each event
                *(["-XX:TieredStopAtLevel=1"] if days < LONG_RUN_DAYS else []),
            ]
        ),
    }


def _with_executors_elsewhere(settings: Settings) -> dict[str, str]:
    config = {
        # the driver serves them to its executors, whose machines and images need not have them
        "spark.jars": ",".join(jar.as_uri() for jar in _jars(settings)),
        "spark.driver.extraJavaOptions": QUIET,
    }
    if settings.spark_driver_host:
        config["spark.driver.host"] = settings.spark_driver_host
    return config


def _on_kubernetes(settings: Settings) -> dict[str, str]:
    """What a driver in a pod asks the API server for ("Running Spark on Kubernetes", client mode)."""
    given = settings.spark_kubernetes
    config = {
        "spark.kubernetes.container.image": given.image,
        "spark.kubernetes.namespace": given.namespace,
        # that of the driver is its pod's own
        "spark.kubernetes.authenticate.executor.serviceAccountName": given.service_account,
    }
    if given.driver_pod:
        config["spark.kubernetes.driver.pod.name"] = given.driver_pod
    return config


def _jars(settings: Settings) -> list[Path]:
    folder = settings.toolchain / "jars" / "spark"
    jars = sorted(folder.glob("*.jar"))
    if not jars:
        raise SparkSetupError(f"no jars in {folder}: `./lakehouse up` fetches them")
    return jars


def _require_connect() -> None:
    from pyspark import __version__ as version
    from pyspark.sql.connect.utils import check_dependencies

    try:
        check_dependencies(__name__)
    except ImportError as error:
        raise SparkSetupError(
            f"LAKEHOUSE_SPARK_MASTER names a Spark Connect server, and this environment lacks what its client "
            f"imports ({error}): add it with `uv pip install --python {sys.executable} "
            f"'pyspark[connect]=={version}'`, or name another master, such as local[2] or spark://HOST:PORT"
        ) from error


def open_session(settings: Settings, *, days: int = 1) -> "SparkSession":
    """Start a session for so many days of data, or take the one that the process has.

    Its JVM stays as long as the process; with Spark Connect there is none here.

    Raises:
        SparkSetupError: the Iceberg jars are not in the toolchain, or this environment cannot talk to a server.
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

    The catalog opens at the first statement that names it, with the properties set here. A Spark Connect server
    gets them, keys included, over the connection: encrypt it (``sc://HOST:PORT/;use_ssl=true``).

    Raises:
        SparkSetupError: such a server cannot open it.
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
    if settings.spark_mode is SparkMode.CONNECT:
        _open_on_server(session, settings)


def _open_on_server(session: "SparkSession", settings: Settings) -> None:
    """A server was not started by us: say what it lacks, before anything is computed."""
    from pyspark.errors import PySparkException

    try:
        session.sql(f"SHOW NAMESPACES IN {settings.catalog_name}").collect()
    except PySparkException as error:
        raise SparkSetupError(
            f"the Spark Connect server cannot open the catalog ({str(error).splitlines()[0]}): it needs the jars "
            "that locks/jars.txt names for spark on its class path, and must reach "
            f"{settings.catalog_uri} and {settings.s3_endpoint}"
        ) from error
