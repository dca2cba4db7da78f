"""An idempotent producer and the account of what became of each record."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import numpy.typing as npt
import orjson
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from resources.kafka import client_config
from settings import Settings
from sources.errors import DeliveryError
from sources.ledger import KindCounts, Ledger, PartitionLedger
from sources.outgoing import Kind, Outgoing

MAX_OUTSTANDING = 200_000
"""Records handed over and not yet answered; more wait in the source, so the local queue is never full."""

GIVE_UP_AFTER_S = 600
"""How long the broker may be away before records are given up."""

INTERRUPTED_FLUSH_S = 30

_PRODUCER_CONFIG: dict[str, str | int | bool] = {
    "enable.idempotence": True,
    "compression.type": "lz4",
    "linger.ms": 50,
    "batch.size": 1_000_000,
    "queue.buffering.max.messages": 2 * MAX_OUTSTANDING,
    "queue.buffering.max.kbytes": 1_000_000,
    "message.timeout.ms": GIVE_UP_AFTER_S * 1000,
    # the partitioner of the Java clients, so that a sensor has one partition whoever publishes for it
    "partitioner": "murmur2_random",
}

_MINUTE_US = 60_000_000
_CONSOLIDATE_AFTER = 1_000_000

_UNKNOWN = frozenset({KafkaError._MSG_TIMED_OUT, KafkaError._PURGE_INFLIGHT})

_logger = logging.getLogger("sources.kafka")
_logger.addHandler(logging.NullHandler())
_logger.propagate = False


class MinuteCounts:
    """Counts of events by minute of event time, added a batch at a time."""

    def __init__(self) -> None:
        self._minutes: list[npt.NDArray[np.int64]] = []
        self._counts: list[npt.NDArray[np.int64]] = []
        self._pending = 0

    def add(self, times: npt.NDArray[np.int64], sign: int = 1) -> None:
        """Count events at ``times`` (microseconds since the epoch); a ``sign`` of -1 takes them back."""
        minutes, counts = np.unique(times // _MINUTE_US, return_counts=True)
        self._minutes.append(minutes)
        self._counts.append(sign * counts.astype(np.int64))
        self._pending += len(minutes)
        if self._pending > _CONSOLIDATE_AFTER:
            self._consolidate()

    def as_dict(self) -> dict[str, int]:
        """Count of each minute that has events, by time."""
        self._consolidate()
        labels = np.datetime_as_string(self._minutes[0].astype("datetime64[m]"), timezone="UTC").tolist()
        counts = self._counts[0].tolist()
        return {label: count for label, count in zip(labels, counts, strict=True) if count}

    def _consolidate(self) -> None:
        every = np.concatenate([np.empty(0, np.int64), *self._minutes])
        minutes, index = np.unique(every, return_inverse=True)
        totals = np.zeros(len(minutes), np.int64)
        np.add.at(totals, index, np.concatenate([np.empty(0, np.int64), *self._counts]))
        self._minutes, self._counts, self._pending = [minutes], [totals], 0


class Deliveries:
    """The account of one topic: what was sent, acknowledged, failed, or left unanswered.

    ``seconds`` is the time from the first record sent to the last acknowledgement.
    """

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.sent = 0
        self.failed = 0
        self.unknown = 0
        self.acknowledged_by_kind = dict.fromkeys(Kind, 0)
        self.seconds = 0.0
        self.keys: set[bytes] = set()
        self.partitions: dict[int, PartitionLedger] = {}
        self._first_sent: float | None = None
        self._minutes = MinuteCounts()
        self._offsets: dict[Kind, defaultdict[int, list[int]]] = {kind: defaultdict(list) for kind in Kind}
        self.callbacks = {kind: self._callback(kind) for kind in Kind}

    @property
    def acknowledged(self) -> int:
        """Records that the broker has acknowledged."""
        return sum(self.acknowledged_by_kind.values())

    def kind_counts(self) -> KindCounts:
        """Acknowledged records by kind."""
        counts = self.acknowledged_by_kind
        return KindCounts(
            valid=counts[Kind.VALID],
            late=counts[Kind.LATE],
            duplicate=counts[Kind.DUPLICATE],
            malformed=counts[Kind.MALFORMED],
        )

    def events_by_minute(self) -> dict[str, int]:
        """Acknowledged events by minute of event time."""
        return self._minutes.as_dict()

    def add_sent(self, records: Outgoing) -> None:
        """Take note of records that were handed to the client."""
        if self._first_sent is None:
            self._first_sent = time.monotonic()
        self.sent += len(records)
        self.keys.update(records.keys)
        self._minutes.add(records.event_time[records.kinds != Kind.MALFORMED])

    def settle(self) -> None:
        """Move the offsets that delivery reports brought into the totals."""
        for kind, by_partition in self._offsets.items():
            for partition, offsets in by_partition.items():
                if offsets:
                    self._add_acknowledged(kind, partition, offsets)
                    offsets.clear()

    def _add_acknowledged(self, kind: Kind, partition: int, offsets: list[int]) -> None:
        self.acknowledged_by_kind[kind] += len(offsets)
        if self._first_sent is not None:
            self.seconds = time.monotonic() - self._first_sent
        first, last = min(offsets), max(offsets)
        total = self.partitions.get(partition)
        if total is None:
            self.partitions[partition] = PartitionLedger(count=len(offsets), first_offset=first, last_offset=last)
            return
        total.count += len(offsets)
        total.first_offset = min(total.first_offset, first)
        total.last_offset = max(total.last_offset, last)

    def _callback(self, kind: Kind) -> Callable[[KafkaError | None, Message], None]:
        offsets = self._offsets[kind]

        # runs once per record: one append is all that it does
        def on_delivery(error: KafkaError | None, message: Message) -> None:
            if error is None:
                offsets[message.partition()].append(message.offset())
            else:
                self._add_undelivered(kind, error, message)

        return on_delivery

    def _add_undelivered(self, kind: Kind, error: KafkaError, message: Message) -> None:
        if error.code() in _UNKNOWN:
            self.unknown += 1
        else:
            self.failed += 1
        if kind is not Kind.MALFORMED:
            moment = datetime.fromisoformat(orjson.loads(message.value())["event_time"])
            self._minutes.add(np.array([moment.timestamp() * 1e6], dtype=np.int64), sign=-1)


class EventProducer:
    """Publishes records in batches, waits for the broker when it is away, and reports every answer."""

    def __init__(self, settings: Settings) -> None:
        self.waiting_for_broker = False
        self._deliveries: list[Deliveries] = []
        self._producer = Producer(
            {**client_config(settings), **_PRODUCER_CONFIG, "error_cb": self._on_error, "logger": _logger}
        )

    def deliveries(self, topic: str) -> Deliveries:
        """Open the account of ``topic``."""
        account = Deliveries(topic)
        self._deliveries.append(account)
        return account

    def has_room(self, records: int) -> bool:
        """Whether ``records`` more can be handed over without waiting for answers."""
        return len(self._producer) + records <= MAX_OUTSTANDING

    def send(self, account: Deliveries, records: Outgoing) -> None:
        """Hand ``records`` to the client, in order; call :meth:`has_room` before.

        Raises:
            DeliveryError: the client refuses a record, for instance because it is too large.
        """
        messages: list[dict[str, object]] = [
            {"value": payload, "key": key} for payload, key in zip(records.payloads, records.keys, strict=True)
        ]
        for index in np.flatnonzero(records.kinds).tolist():
            messages[index]["callback"] = account.callbacks[Kind(int(records.kinds[index]))]
        try:
            accepted = self._producer.produce_batch(
                account.topic, messages, on_delivery=account.callbacks[Kind.VALID]
            )
        except KafkaException as error:
            raise DeliveryError(f"topic {account.topic}: {error.args[0].str()}") from error
        if accepted == len(messages):
            account.add_sent(records)
            return
        refused = [index for index, message in enumerate(messages) if "_error" in message]
        taken = np.setdiff1d(np.arange(len(records)), refused)
        account.add_sent(records.take(taken))
        raise DeliveryError(
            f"topic {account.topic}: the client refused {len(refused)} records: {messages[refused[0]]['_error']}"
        )

    def poll(self, seconds: float) -> None:
        """Wait up to ``seconds`` for answers of the broker and enter them in the accounts."""
        before = len(self._producer)
        self._producer.poll(seconds)
        if len(self._producer) < before:
            self.waiting_for_broker = False
        for account in self._deliveries:
            account.settle()

    def finish(self, interrupted: Callable[[], bool], on_poll: Callable[[], None]) -> None:
        """Wait until every record has its answer; once ``interrupted``, no longer than half a minute."""
        deadline = float("inf")
        while len(self._producer):
            if interrupted():
                deadline = min(deadline, time.monotonic() + INTERRUPTED_FLUSH_S)
            if time.monotonic() > deadline:
                self._producer.purge()
                self.poll(1.0)
                return
            self.poll(0.1)
            on_poll()

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self.waiting_for_broker = True


def ledger_of(
    account: Deliveries,
    *,
    kind: Literal["simulate", "replay"],
    family: str,
    source: str,
    started: datetime,
    sent_all: bool,
) -> Ledger:
    """The ledger of what ``account`` holds, with nothing rejected."""
    counts = account.kind_counts()
    return Ledger(
        kind=kind,
        family=family,
        topic=account.topic,
        source=source,
        started=started,
        ended=datetime.now(UTC),
        complete=sent_all and account.acknowledged == account.sent,
        seconds=round(account.seconds, 3),
        acknowledged=account.acknowledged,
        failed=account.failed,
        unknown=account.unknown,
        by_kind=counts,
        distinct_events=counts.valid + counts.late,
        sensors=len(account.keys),
        partitions=dict(sorted(account.partitions.items())),
        events_by_minute=account.events_by_minute(),
    )
