"""What Kafka says of the offsets that no table has: the audit's only question to the broker."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from audit.errors import AuditError
from resources.kafka import REQUEST_TIMEOUT_S, client_config
from settings import Settings

READ_TIMEOUT_S = 30.0


class Broker(Protocol):
    """A broker as the audit needs it."""

    def committed_offsets(self, topic: str, group: str) -> dict[int, int]:
        """Next offset of the consumer group in each partition where it has one."""
        ...

    def first_offsets(self, topic: str) -> dict[int, int]:
        """Offset of the oldest record that is kept in each partition."""
        ...

    def published(self, topic: str, partition: int, span: range) -> list[int]:
        """Offsets in ``span`` that hold a published record: no transaction marker, and not aborted."""
        ...


class KafkaBroker:
    """The broker of the platform; every call opens a client and closes it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def committed_offsets(self, topic: str, group: str) -> dict[int, int]:
        """Next offset of the consumer group in each partition where it has one.

        Raises:
            AuditError: the broker does not answer.
        """
        with self._consumer(group) as consumer:
            wanted = [TopicPartition(topic, partition) for partition in _partitions(consumer, topic)]
            answers = consumer.committed(wanted, timeout=REQUEST_TIMEOUT_S)
        # a negative offset says that nothing was committed
        return {int(found.partition): int(found.offset) for found in answers if found.offset >= 0}

    def first_offsets(self, topic: str) -> dict[int, int]:
        """Offset of the oldest record that is kept in each partition.

        Raises:
            AuditError: the broker does not answer.
        """
        with self._consumer() as consumer:
            return {
                partition: int(
                    consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=REQUEST_TIMEOUT_S)[0]
                )
                for partition in _partitions(consumer, topic)
            }

    def published(self, topic: str, partition: int, span: range) -> list[int]:
        """Offsets in ``span`` that a consumer with isolation ``read_committed`` is given.

        Raises:
            AuditError: the broker does not answer, or drops the records while they are read.
        """
        found: list[int] = []
        with self._consumer() as consumer:
            consumer.assign([TopicPartition(topic, partition, span.start)])
            while True:
                # one at a time: `consume` would wait for as many as it was asked for
                message = consumer.poll(READ_TIMEOUT_S)
                if message is None:
                    raise AuditError(
                        f"Kafka at {self._settings.kafka_bootstrap_servers} did not deliver {topic} partition "
                        f"{partition} from offset {span.start} within {READ_TIMEOUT_S:.0f} s: try again"
                    )
                if (error := message.error()) is not None:
                    if error.code() == KafkaError._PARTITION_EOF:
                        return found
                    raise KafkaException(error)
                if message.offset() >= span.stop:
                    return found
                found.append(int(message.offset()))

    @contextmanager
    def _consumer(self, group: str = "lakehouse-audit") -> Iterator[Consumer]:
        consumer = Consumer(
            {
                **client_config(self._settings),
                "log_level": 0,
                "group.id": group,
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "auto.offset.reset": "error",
                "queued.max.messages.kbytes": 16_384,
                "fetch.queue.backoff.ms": 5,
            }
        )
        try:
            yield consumer
        except KafkaException as error:
            raise AuditError(
                f"Kafka at {self._settings.kafka_bootstrap_servers} refused: {error.args[0].str()}; "
                "`./lakehouse status` shows whether it runs"
            ) from error
        finally:
            consumer.close()


def _partitions(consumer: Consumer, topic: str) -> list[int]:
    metadata = consumer.list_topics(topic, timeout=REQUEST_TIMEOUT_S).topics[topic]
    return sorted(metadata.partitions)
