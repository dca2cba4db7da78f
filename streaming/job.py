"""The job of one family: a single statement set, so that the topic is read and decoded once."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway
from pyflink.table import StreamTableEnvironment
from pyflink.util.java_utils import to_jarray

from contracts import Family
from settings import Settings
from streaming import sql

IDLE_TIMEOUT_S = 30
"""A partition without events for this long no longer holds back the watermark."""


def job_name(family: Family) -> str:
    """Name of the family's job in Flink."""
    return f"lakehouse-{family.name}"


def catalog_options(settings: Settings) -> Mapping[str, str]:
    """Options of the Iceberg catalog for Flink."""
    access_key = settings.s3_access_key.get_secret_value()
    secret_key = settings.s3_secret_key.get_secret_value()
    return {
        "uri": settings.catalog_uri,
        "warehouse": settings.warehouse,
        "credential": f"{access_key}:{secret_key}",
        "rest.auth.type": "oauth2",
        "oauth2-server-uri": f"{settings.catalog_uri}/v1/oauth/tokens",
        "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        "s3.endpoint": settings.s3_endpoint,
        "s3.access-key-id": access_key,
        "s3.secret-access-key": secret_key,
        "s3.path-style-access": "true",
        "client.region": settings.s3_region,
    }


def submit(family: Family, settings: Settings, *, restore_from: str | None) -> str:
    """Submit the family's job to the cluster and return its Flink job id.

    Args:
        family: whose topic to read.
        settings: where Kafka, the catalog and the store are.
        restore_from: savepoint or retained checkpoint to continue from; ``None`` starts at the earliest offset.
    """
    configuration = Configuration()
    configuration.set_string("pipeline.name", job_name(family))
    configuration.set_string("table.local-time-zone", "UTC")
    configuration.set_string("parallelism.default", str(settings.flink_parallelism))
    configuration.set_string("execution.checkpointing.interval", f"{settings.checkpoint_interval_s * 1000:.0f} ms")
    if restore_from is not None:
        configuration.set_string("execution.state-recovery.path", restore_from)
    environment = StreamTableEnvironment.create(_remote_environment(settings.flink_url, configuration))
    environment.execute_sql(sql.create_catalog(catalog_options(settings)))
    environment.execute_sql(
        sql.create_source(
            family,
            bootstrap_servers=settings.kafka_bootstrap_servers,
            idle_timeout_s=IDLE_TIMEOUT_S,
            parallelism=settings.flink_parallelism + 1,
        )
    )
    environment.execute_sql(sql.create_valid_view())
    statements = environment.create_statement_set()
    statements.add_insert_sql(sql.insert_bronze(family))
    statements.add_insert_sql(sql.insert_windows(family))
    client = statements.execute().get_job_client()
    if client is None:
        raise RuntimeError(f"Flink accepted the job of {family.name} without naming its id")
    return str(client.get_job_id())


def _remote_environment(flink_url: str, configuration: Configuration) -> StreamExecutionEnvironment:
    """Environment that submits to the JobManager at ``flink_url``.

    PyFlink by itself only reaches a remote cluster from within ``flink run``, one JVM and one Python process a
    job; Java's own remote environment (``StreamExecutionEnvironment.createRemoteEnvironment``) does it from here.
    """
    address = urlsplit(flink_url)
    jvm = get_gateway().jvm
    java_environment = jvm.org.apache.flink.streaming.api.environment.StreamExecutionEnvironment
    no_jars = to_jarray(jvm.java.lang.String, [])
    return StreamExecutionEnvironment(
        java_environment.createRemoteEnvironment(
            address.hostname, address.port, configuration._j_configuration, no_jars
        )
    )
