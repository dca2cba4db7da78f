"""Fetches exactly the records at given offsets."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from dead_letters.errors import RecordsUnavailableError
from resources.kafka import REQUEST_TIMEOUT_S, KafkaUnavailableError, client_config
from settings import Settings

SILENCE_S = 30.0
"""How long Kafka may deliver nothing, not even the end of a partition."""

POLL_S = 0.5
READ_THROUGH = 5_000
"""Up to so many offsets, reading what lies between two gaps is cheaper than fetching anew."""

_CONSUMER = {
    # never joined, but librdkafka wants one
    "group.id": "city-lakehouse-dead-letters",
    "enable.auto.commit": False,
    # as Flink does: control records and what was aborted are nothing that was published
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    "auto.offset.reset": "earliest",
    "queued.min.messages": 10_000,
    "queued.max.messages.kbytes": 16_384,
    "fetch.queue.backoff.ms": 5,
    "log_level": 0,
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Record:
    """One record as Kafka has it."""

    topic: str
    partition: int
    offset: int
    time: datetime
    key: bytes | None
    value: bytes | None

    @property
    def place(self) -> str:
        """``topic/partition/offset``: what names a record for good."""
        return f"{self.topic}/{self.partition}/{self.offset}"


class Interrupted(Exception):  # noqa: N818 nothing is wrong
    """Whoever waits for records was told to stop."""


class RecordReader:
    """Reads records by offset, as no member of a group; what is fetched ahead is bounded."""

    def __init__(self, settings: Settings, stopping: threading.Event | None = None) -> None:
        """Connect lazily; ``stopping`` ends a wait with :class:`Interrupted`."""
        self._consumer = Consumer({**client_config(settings), **_CONSUMER})
        self._servers = settings.kafka_bootstrap_servers
        self._stopping = stopping or threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def read(self, topic: str, partition: int, wanted: Sequence[range]) -> Iterator[Record]:
        """The records at the offsets ``wanted``, which are in order.

        An offset for which nothing comes is a control record, was part of an aborted transaction, or is no longer
        kept by Kafka.

        Raises:
            RecordsUnavailableError: Kafka delivers nothing.
            Interrupted: told to stop.
        """
        following: Message | None = None
        position = -1
        try:
            for offsets in wanted:
                if not 0 <= offsets.start - position <= READ_THROUGH or position < 0:
                    self._consumer.assign([TopicPartition(topic, partition, offsets.start)])
                    following = None
                while following is None or following.offset() < offsets.stop:
                    if following is not None and following.offset() >= offsets.start:
                        yield _record(following)
                    following = self._next(f"{topic}/{partition} after offset {max(position, offsets.start)}")
                    if following is None:
                        return
                    position = following.offset()
        finally:
            self._consumer.unassign()

    def first_offset(self, topic: str, partition: int) -> int:
        """Offset of the oldest record that Kafka still has.

        Raises:
            KafkaUnavailableError: the broker does not answer.
        """
        try:
            return int(
                self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=SILENCE_S)[0]
            )
        except KafkaException as error:
            raise unavailable(self._servers, error) from error

    def _next(self, place: str) -> Message | None:
        """The next message, ``None`` at the end of the partition."""
        for _ in range(int(SILENCE_S / POLL_S)):
            if self._stopping.is_set():
                raise Interrupted
            message = self._consumer.poll(POLL_S)
            if message is None:
                continue
            error = message.error()
            if error is None:
                return message
            if error.code() == KafkaError._PARTITION_EOF:
                return None
            raise RecordsUnavailableError(f"Kafka at {self._servers} does not deliver {place}: {error.str()}")
        raise RecordsUnavailableError(
            f"Kafka at {self._servers} has delivered nothing of {place} for {SILENCE_S:g} s"
        )


class CommittedReader:
    """Reads what a consumer group has committed for a topic, without being a member of it.

    A consumer, not the administration client: that one aborts the process (an assertion of librdkafka 2.16) when a
    broker is away for long and comes back.
    """

    def __init__(self, settings: Settings, group: str, topic: str) -> None:
        """Connect lazily."""
        config = {**client_config(settings), "group.id": group, "enable.auto.commit": False, "log_level": 0}
        self._consumer = Consumer(config)
        self._servers = settings.kafka_bootstrap_servers
        self._topic = topic

    def read(self) -> dict[int, int]:
        """Committed offset of each partition that the group has committed one for.

        Raises:
            KafkaUnavailableError: the broker does not answer.
        """
        try:
            topic = self._consumer.list_topics(self._topic, timeout=REQUEST_TIMEOUT_S).topics[self._topic]
            places = [TopicPartition(self._topic, partition) for partition in topic.partitions]
            found = self._consumer.committed(places, timeout=REQUEST_TIMEOUT_S) if places else []
        except KafkaException as error:
            raise unavailable(self._servers, error) from error
        return {place.partition: place.offset for place in found if place.error is None and place.offset >= 0}


def unavailable(servers: str, error: KafkaException) -> KafkaUnavailableError:
    """The error of a broker that does not answer, in one line."""
    return KafkaUnavailableError(f"Kafka at {servers} does not answer ({error.args[0].str()})")


def _record(message: Message) -> Record:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    _, milliseconds = message.timestamp()
    return Record(
        topic=str(topic),
        partition=int(partition),
        offset=int(offset),
        time=_EPOCH + timedelta(milliseconds=milliseconds),
        key=message.key(),
        value=message.value(),
    )
