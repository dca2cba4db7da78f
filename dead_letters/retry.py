"""Publishes dead letters that are valid now once more, each at most once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from pyiceberg.table import Table as IcebergTable

from contracts import Family
from dead_letters.classify import classify
from dead_letters.errors import RetryError
from dead_letters.fetch import Record, RecordReader
from dead_letters.listing import Filter
from resources.kafka import REQUEST_TIMEOUT_S, client_config, end_offsets
from settings import Settings

MARKER_TOPIC = "lakehouse.retried-dead-letters"
"""Compacted; its keys are the places of the records that were published again."""

HEADER = "lakehouse-retry"
TRANSACTION_RECORDS = 1000
TRANSACTION_TIMEOUT_S = 60.0

_PRODUCER = {
    # one for all, so that the broker ends the transaction of an earlier retry before a later one looks
    "transactional.id": "lakehouse-dead-letter-retry",
    "compression.type": "lz4",
    # the partitioner of the sources: a sensor keeps its partition
    "partitioner": "murmur2_random",
    "log_level": 0,
}


@dataclass(frozen=True, slots=True)
class RetryReport:
    """How many dead letters were published again, are still no valid events, and had been published before."""

    retried: int = 0
    still_invalid: int = 0
    retried_before: int = 0


def retry(settings: Settings, table: IcebergTable, families: Sequence[Family], chosen: Filter) -> RetryReport:
    """Publish what is valid by the contracts of ``families`` to the topics again, once.

    The record and a marker of its place are written in one Kafka transaction. A later retry, or one at the same
    time, first ends the transactions of this one and then reads the markers, so that a record cannot be published
    twice, wherever a retry dies.

    Raises:
        RetryError: Kafka refuses, or another retry has started meanwhile; what is committed is not repeated.
        KafkaUnavailableError: the broker does not answer.
    """
    producer = Producer({**client_config(settings), **_PRODUCER})
    try:
        _ensure_marker_topic(settings)
        producer.init_transactions(TRANSACTION_TIMEOUT_S)
        before = retried_places(settings)
        return _retry_all(producer, table, families, chosen, before)
    except KafkaException as error:
        raise RetryError(
            f"the retry was stopped ({error.args[0].str()}): run it again, what is done is not repeated"
        ) from error


def retried_places(settings: Settings) -> set[str]:
    """Places, ``topic/partition/offset``, of all records that were published again.

    Raises:
        KafkaUnavailableError: the broker does not answer.
    """
    places: set[str] = set()
    with RecordReader(settings) as reader:
        for partition, end in end_offsets(settings, MARKER_TOPIC).items():
            if end:
                records = reader.read(MARKER_TOPIC, partition, [range(end)])
                places.update(record.key.decode() for record in records if record.key is not None)
    return places


def _retry_all(
    producer: Producer, table: IcebergTable, families: Sequence[Family], chosen: Filter, before: set[str]
) -> RetryReport:
    by_name = {family.name: family for family in families}
    retried = invalid = repeated = 0
    candidates = _stored(table, chosen)
    while batch := list(islice(candidates, TRANSACTION_RECORDS)):
        now = datetime.now(UTC)
        ready: list[Record] = []
        for name, record in batch:
            if record.place in before:
                repeated += 1
            elif name not in by_name or classify(record.value, now, by_name[name]) is not None:
                invalid += 1
            else:
                ready.append(record)
        if ready:
            _publish(producer, ready)
            retried += len(ready)
    return RetryReport(retried, invalid, repeated)


def _publish(producer: Producer, records: Sequence[Record]) -> None:
    producer.begin_transaction()
    for record in records:
        place = record.place.encode()
        producer.produce(record.topic, record.value, key=record.key, headers=[(HEADER, place)])
        producer.produce(MARKER_TOPIC, b"", key=place)
    producer.commit_transaction(TRANSACTION_TIMEOUT_S)


def _stored(table: IcebergTable, chosen: Filter) -> Iterator[tuple[str, Record]]:
    columns = ("family", "topic", "kafka_partition", "kafka_offset", "kafka_time", "kafka_key", "payload")
    scan = table.scan(row_filter=chosen.expression(), selected_fields=columns)
    for batch in scan.to_arrow_batch_reader():
        for row in batch.to_pylist():
            yield (
                row["family"],
                Record(
                    topic=row["topic"],
                    partition=row["kafka_partition"],
                    offset=row["kafka_offset"],
                    time=row["kafka_time"],
                    key=row["kafka_key"],
                    value=row["payload"],
                ),
            )


def _ensure_marker_topic(settings: Settings) -> None:
    topic = NewTopic(MARKER_TOPIC, 1, settings.kafka_replication, config={"cleanup.policy": "compact"})
    admin = AdminClient({**client_config(settings), "log_level": 0})
    (created,) = admin.create_topics([topic], request_timeout=REQUEST_TIMEOUT_S).values()
    try:
        created.result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise
