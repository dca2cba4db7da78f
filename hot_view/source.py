"""The hot topics of all families, read from given offsets and in batches."""

import logging
from collections.abc import Iterable, Mapping

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from contracts import Family
from hot_view.view import Position
from resources.kafka import REQUEST_TIMEOUT_S, KafkaUnavailableError, client_config
from settings import Settings

IDLE_WAIT_S = 0.2
GATHER_S = 0.008
"""How long records are gathered before they are written: a round trip to Redis and a script's start for many."""
MAX_BATCH = 5_000

_CONSUMER_CONFIG: dict[str, str | int | bool] = {
    "group.id": "lakehouse-hot-view",
    # the offsets that are in the view stand in Redis
    "enable.auto.commit": False,
    "auto.offset.reset": "earliest",
    "fetch.wait.max.ms": 50,
    # the default of 1000 holds up a consumer that has caught up
    "fetch.queue.backoff.ms": 5,
    "queued.max.messages.kbytes": 16_384,
    # each try to connect would be a line; the callback for errors says it once
    "log_level": 0,
}

logger = logging.getLogger("hot-view")


class HotTopics:
    """A consumer of all partitions of the hot topics."""

    def __init__(self, settings: Settings, families: Iterable[Family]) -> None:
        self._address = settings.kafka_bootstrap_servers
        self._topics = [family.hot_topic for family in families]
        self._consumer = Consumer({**client_config(settings), **_CONSUMER_CONFIG, "error_cb": _log_error})
        self._assigned: list[TopicPartition] = []

    def start(self, positions: Mapping[Position, int]) -> None:
        """Read on from ``positions``; a partition that is not among them, from its beginning.

        Raises:
            KafkaUnavailableError: the broker does not answer, or a topic does not exist.
        """
        assigned = [
            TopicPartition(topic, partition, positions.get((topic, partition), OFFSET_BEGINNING))
            for topic in self._topics
            for partition in self._partitions(topic)
        ]
        self._consumer.assign(assigned)
        self._assigned = assigned

    def batch(self) -> list[Message]:
        """Return the records that came within :data:`GATHER_S` of the first; none where none comes soon."""
        first = self._consumer.poll(IDLE_WAIT_S)
        if first is None:
            return []
        messages = [first, *self._consumer.consume(MAX_BATCH, GATHER_S)]
        return [message for message in messages if _is_record(message)]

    def lag(self) -> dict[Position, int]:
        """Records of each partition that were not handed out yet, as far as the client knows without asking."""
        lags = {}
        for position in self._consumer.position(self._assigned):
            low, high = self._consumer.get_watermark_offsets(position, cached=True)
            if high >= 0:
                lags[position.topic, position.partition] = max(0, high - max(position.offset, low))
        return lags

    def close(self) -> None:
        """End the connections."""
        self._consumer.close()

    def _partitions(self, topic: str) -> list[int]:
        try:
            metadata = self._consumer.list_topics(topic, timeout=REQUEST_TIMEOUT_S).topics[topic]
        except KafkaException as error:
            raise KafkaUnavailableError(
                f"Kafka at {self._address} does not answer: {error.args[0].str()}"
            ) from error
        if metadata.error is not None:
            raise KafkaUnavailableError(f"Kafka at {self._address}, topic {topic}: {metadata.error.str()}")
        return sorted(metadata.partitions)


def _is_record(message: Message) -> bool:
    error = message.error()
    if error is None:
        return True
    _log_error(error)
    return False


def _log_error(error: KafkaError) -> None:
    # the client connects again by itself
    logger.warning("Kafka: %s", error.str())
