"""From the messages of a batch to the updates that are written."""

import logging
from collections import Counter
from collections.abc import Iterable

from confluent_kafka import Message

from contracts import Family
from hot_view.metrics import Metrics
from hot_view.records import RecordError, RecordReader, Update
from hot_view.view import Position

logger = logging.getLogger("hot-view")


class BatchReader:
    """Turns the messages of a batch into updates."""

    def __init__(self, members: Iterable[Family], metrics: Metrics) -> None:
        self._readers = {family.hot_topic: RecordReader(family) for family in members}
        self._metrics = metrics

    def read(self, messages: Iterable[Message]) -> tuple[list[Update], dict[Position, int]]:
        """Return the newest update of each key, and the next offset of each partition."""
        updates: list[Update] = []
        positions: dict[Position, int] = {}
        records: Counter[str] = Counter()
        for message in messages:
            topic = message.topic()
            records[topic] += 1
            positions[topic, message.partition()] = message.offset() + 1
            try:
                updates.append(self._readers[topic].read(message.key(), message.value()))
            except RecordError as error:
                logger.warning("left out: %s", error)
                self._metrics.unreadable.labels(topic).inc()
        for topic, count in records.items():
            self._metrics.records.labels(topic).inc(count)
        return newest_of_each_key(updates), positions


def newest_of_each_key(updates: Iterable[Update]) -> list[Update]:
    """Leave out what another update of the same key replaces; a tombstone goes by its place."""
    newest: dict[bytes, Update] = {}
    for update in updates:
        before = newest.get(update.key)
        if before is None or before.order is None or update.order is None or update.order >= before.order:
            newest[update.key] = update
    return list(newest.values())
