"""Kafka: how a client connects, the topics of the families, and where a topic ends."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ClusterMetadata, NewTopic

from contracts import Family, LakehouseError
from settings import Settings

REQUEST_TIMEOUT_S = 10.0
PROBE_TIMEOUT_S = 2.0

HOT_RETENTION = timedelta(days=1)
HOT_TOPIC_CONFIG = {
    "cleanup.policy": "compact,delete",
    "retention.ms": str(HOT_RETENTION // timedelta(milliseconds=1)),
    # a reader that starts anew reads the whole topic: small segments, so that most of it is compacted
    "segment.ms": "600000",
    # else all partitions begin one at the same time, and all are compacted at once
    "segment.jitter.ms": "300000",
    "min.cleanable.dirty.ratio": "0.2",
}


class KafkaUnavailableError(LakehouseError):
    """The broker does not answer, or refuses what was asked; the message names its address."""


def client_config(settings: Settings) -> dict[str, str | int]:
    """librdkafka properties that every client shares."""
    return {"bootstrap.servers": settings.kafka_bootstrap_servers, "client.id": "city-lakehouse"}


def is_reachable(settings: Settings) -> bool:
    """Whether a broker answers a metadata request now."""
    try:
        AdminClient(_quiet(settings)).list_topics(timeout=PROBE_TIMEOUT_S)
    except KafkaException:
        return False
    return True


def ensure_topics(settings: Settings, families: Iterable[Family]) -> list[str]:
    """Create the topics of ``families`` that do not exist; those that do are left as they are.

    The hot topics are compacted, and what is older than :data:`HOT_RETENTION` leaves them.

    Returns:
        Names of the topics that were created.

    Raises:
        KafkaUnavailableError: the broker does not answer or refuses to create a topic.
    """
    admin = AdminClient(_quiet(settings))
    present = _metadata(admin, settings).topics
    wanted = [
        topic
        for family in families
        for topic in (
            NewTopic(family.topic, family.topic_partitions, settings.kafka_replication),
            NewTopic(
                family.hot_topic, family.topic_partitions, settings.kafka_replication, config=HOT_TOPIC_CONFIG
            ),
        )
    ]
    missing = [topic for topic in wanted if topic.topic not in present]
    if not missing:
        return []
    created = []
    for topic, future in admin.create_topics(missing, request_timeout=REQUEST_TIMEOUT_S).items():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                continue  # another process created it between the look and the request
            raise KafkaUnavailableError(
                f"Kafka at {settings.kafka_bootstrap_servers} did not create topic {topic}: {error.args[0].str()}"
            ) from error
        created.append(str(topic))
    return created


def end_offsets(settings: Settings, topic: str) -> dict[int, int]:
    """Offset that the next record gets, for each partition of ``topic``.

    Raises:
        KafkaUnavailableError: the broker does not answer, or the topic does not exist.
    """
    consumer = Consumer({**_quiet(settings), "group.id": "city-lakehouse-offsets"})
    try:
        metadata = _metadata(consumer, settings).topics.get(topic)
        if metadata is None:
            raise KafkaUnavailableError(
                f"Kafka at {settings.kafka_bootstrap_servers} has no topic {topic}: `./lakehouse up` creates it"
            )
        return {
            int(partition): int(
                consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=REQUEST_TIMEOUT_S)[1]
            )
            for partition in sorted(metadata.partitions)
        }
    except KafkaException as error:
        raise _unavailable(settings, error) from error
    finally:
        consumer.close()


def consumer_lag(settings: Settings, topic: str, group: str) -> int:
    """Records of ``topic`` that are beyond what the consumer group has committed, control records included.

    Raises:
        KafkaUnavailableError: the broker does not answer, or the topic does not exist.
    """
    ends = end_offsets(settings, topic)
    consumer = Consumer({**_quiet(settings), "group.id": group, "enable.auto.commit": False})
    try:
        asked = [TopicPartition(topic, partition) for partition in ends]
        committed = consumer.committed(asked, timeout=REQUEST_TIMEOUT_S)
    except KafkaException as error:
        raise _unavailable(settings, error) from error
    finally:
        consumer.close()
    # a negative offset says that nothing was committed
    return sum(max(0, ends[found.partition] - max(0, found.offset)) for found in committed)


def offsets_at(settings: Settings, topic: str, moment: datetime) -> dict[int, int]:
    """Offset of the first record of each partition with a timestamp of at least ``moment``; its end if none has.

    Raises:
        KafkaUnavailableError: the broker does not answer, or the topic does not exist.
    """
    ends = end_offsets(settings, topic)
    consumer = Consumer({**_quiet(settings), "group.id": "city-lakehouse-offsets"})
    try:
        milliseconds = int(moment.timestamp() * 1000)
        asked = [TopicPartition(topic, partition, milliseconds) for partition in ends]
        found = consumer.offsets_for_times(asked, timeout=REQUEST_TIMEOUT_S)
        return {entry.partition: entry.offset if entry.offset >= 0 else ends[entry.partition] for entry in found}
    except KafkaException as error:
        raise _unavailable(settings, error) from error
    finally:
        consumer.close()


def _quiet(settings: Settings) -> dict[str, str | int]:
    # what librdkafka would log about connections, the exceptions here say in one line
    return {**client_config(settings), "log_level": 0}


def _metadata(client: AdminClient | Consumer, settings: Settings) -> ClusterMetadata:
    try:
        return client.list_topics(timeout=REQUEST_TIMEOUT_S)
    except KafkaException as error:
        raise _unavailable(settings, error) from error


def _unavailable(settings: Settings, error: KafkaException) -> KafkaUnavailableError:
    return KafkaUnavailableError(
        f"Kafka at {settings.kafka_bootstrap_servers} does not answer ({error.args[0].str()}): "
        "`./lakehouse status` shows whether it runs, `./lakehouse up` starts it"
    )
