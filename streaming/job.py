"""The job of one family: a single statement set, so that the topic is read and decoded once."""

from collections.abc import Collection, Mapping
from datetime import timedelta
from urllib.parse import urlsplit

from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway
from pyflink.table import StreamTableEnvironment
from pyflink.util.java_utils import to_jarray

from contracts import Family, LakehouseError
from settings import Settings
from streaming import hot_sql, sql
from streaming.resume import WAS_LATE, Resume

IDLE_TIMEOUT_S = 30
"""A partition without events for this long no longer holds back the watermark."""


class NamelessJobError(LakehouseError):
    """Flink did not say which job it has accepted."""


def catalog_options(settings: Settings) -> Mapping[str, str]:
    """Options of the Iceberg catalog for Flink."""
    access_key = settings.s3_access_key.get_secret_value()
    secret_key = settings.s3_secret_key.get_secret_value()
    return {
        # the commit guard, never the catalog itself
        "uri": settings.guard_url,
        "warehouse": settings.warehouse,
        "credential": f"{access_key}:{secret_key}",
        "rest.auth.type": "oauth2",
        "oauth2-server-uri": f"{settings.guard_url}/v1/oauth/tokens",
        "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        "s3.endpoint": settings.s3_endpoint,
        "s3.access-key-id": access_key,
        "s3.secret-access-key": secret_key,
        "s3.path-style-access": "true",
        "client.region": settings.s3_region,
    }


def job_options(family: Family, settings: Settings) -> dict[str, str]:
    """Options of the job; a remote environment reads none of them from the cluster's configuration file."""
    return {
        "pipeline.name": family.job_name,
        "pipeline.object-reuse": "true",
        "parallelism.default": str(settings.flink_parallelism),
        "execution.checkpointing.interval": f"{settings.checkpoint_interval_s * 1000:.0f} ms",
        "execution.checkpointing.mode": "EXACTLY_ONCE",
        "execution.checkpointing.min-pause": "1 s",
        "execution.checkpointing.timeout": "10 min",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.checkpointing.tolerable-failed-checkpoints": "10",
        "table.local-time-zone": "UTC",
        # generated methods beyond 4,000 characters would be cut into dozens, with fields in place of variables:
        # each is compiled by itself, and together they take the JVM's compiler longer than the whole
        "table.generated-code.max-length": "64000",
        "table.exec.state.ttl": f"{_milliseconds(family.deduplication_ttl)} ms",
        # the distinct events are deduplicated once, whatever reads them
        "table.optimizer.reuse-optimize-block-with-digest-enabled": "true",
        # the key of a zone's record follows from its group, and readers keep the greatest count
        "table.exec.sink.upsert-materialize": "NONE",
    }


def submit(
    family: Family,
    settings: Settings,
    *,
    restore_from: str | None,
    resume: Resume | None,
    sinks: Collection[str] | None = None,
) -> str:
    """Submit the family's job to the cluster and return its Flink job id.

    Args:
        family: whose topic to read.
        settings: where Kafka, the catalog and the store are.
        restore_from: savepoint or retained checkpoint to continue from; ``None`` starts at the earliest offset,
            or where ``resume`` says.
        resume: where the last job with other state ended; what it has written is left out.
        sinks: names of :func:`inserts`; all of them where it is ``None``.

    Raises:
        NamelessJobError: Flink accepted the job without naming its id.
    """
    configuration = Configuration()
    for name, value in job_options(family, settings).items():
        configuration.set_string(name, value)
    if restore_from is not None:
        configuration.set_string("execution.state-recovery.path", restore_from)
    environment = StreamTableEnvironment.create(_remote_environment(settings.flink_url, configuration))
    environment.execute_sql(sql.create_catalog(catalog_options(settings)))
    for declaration in source_declarations(family, settings, resume):
        environment.execute_sql(declaration)
    views = get_gateway().jvm.city.lakehouse.events.EventViews(
        environment._j_tenv, sql.DECODED_VIEW, sql.ROW_TIME, sql.ARRIVAL
    )
    views.create(sql.VALID_VIEW)
    views.createApart(sql.BRONZE_VIEW)
    views.createDistinct(sql.DISTINCT_VIEW, "event_id", _milliseconds(family.deduplication_ttl))
    if resume is not None and resume.late:
        was_late = get_gateway().jvm.city.lakehouse.resume.WasLate(resume.late_offsets())
        environment._j_tenv.createTemporarySystemFunction(WAS_LATE, was_late)
    for declaration in declarations(family, settings, resume):
        environment.execute_sql(declaration)
    statements = environment.create_statement_set()
    for name, insert in inserts(family, resume).items():
        if sinks is None or name in sinks:
            statements.add_insert_sql(insert)
    client = statements.execute().get_job_client()
    if client is None:
        raise NamelessJobError(f"Flink accepted the job of {family.name} without naming its id")
    return str(client.get_job_id())


def source_declarations(family: Family, settings: Settings, resume: Resume | None) -> tuple[str, ...]:
    """The job's source and what is left of it as valid events."""
    return (
        sql.create_source(
            family,
            bootstrap_servers=settings.kafka_bootstrap_servers,
            idle_timeout_s=IDLE_TIMEOUT_S,
            resume=resume,
        ),
        sql.create_decoded_view(family),
    )


def declarations(family: Family, settings: Settings, resume: Resume | None) -> tuple[str, ...]:
    """The job's views of valid events and its Kafka sinks, in the order in which they build on each other."""
    servers = settings.kafka_bootstrap_servers
    return (
        sql.create_on_time_view(family, resume),
        hot_sql.create_hot_events_view(family),
        hot_sql.create_readings_sink(family, bootstrap_servers=servers),
        hot_sql.create_zones_sink(family, bootstrap_servers=servers),
    )


def inserts(family: Family, resume: Resume | None) -> dict[str, str]:
    """The statements of the job, one for each of its sinks."""
    return {
        "bronze": sql.insert_bronze(family, resume),
        "tumbling": sql.insert_tumbling(family, resume),
        "sliding": sql.insert_sliding(family, resume),
        "late": sql.insert_late(family, resume),
        "readings": hot_sql.insert_readings(family),
        "zones": hot_sql.insert_zones(family),
    }


def _milliseconds(length: timedelta) -> int:
    return length // timedelta(milliseconds=1)


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
