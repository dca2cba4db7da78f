"""The load of a scenario: simulated sensors in a thread, and the account of what was published."""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import orjson
from confluent_kafka import KafkaError, Message, Producer

from contracts import Family
from resources.kafka import client_config, end_offsets
from settings import Settings
from sources.ledger import Ledger
from sources.simulate import SimulationOptions, run_simulation
from stack.chaos.errors import ScenarioError

SENSORS = 1500
LATE_BY = timedelta(minutes=5)
LONGEST = timedelta(days=1)
"""Event time that a load may cover: much more than it gets to before it is stopped."""
FLUSH_S = 60.0
LONGEST_WINDOW = timedelta(minutes=5)
MINUTE = timedelta(minutes=1)

FIRST_EVENT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Published:
    """What a scenario has published to the topic of ``family``.

    ``acknowledged`` counts records, ``invalid`` those of them that are no valid event, and ``minutes`` the events
    by minute of event time (``2026-01-01T00:00Z``). Their offsets start at ``first_offsets``. Event times lie
    between ``since`` and ``until``. Windows that end by ``closed_until`` will be written, if it is set.
    """

    family: Family
    first_offsets: Mapping[int, int]
    acknowledged: int = 0
    invalid: int = 0
    late: int = 0
    duplicates: int = 0
    minutes: Counter[str] = field(default_factory=Counter)
    since: datetime = FIRST_EVENT
    until: datetime = FIRST_EVENT
    closed_until: datetime | None = None


class Load:
    """Publishes events of ``families`` until it is stopped.

    A load of history runs through simulated time some ten times faster than the clock, so that windows close
    while the fault lasts; a live one has the times of now, which the hot view wants.
    """

    def __init__(
        self, settings: Settings, families: Sequence[Family], *, rate: float, seed: int, start: datetime | None
    ) -> None:
        self._settings = settings
        self._families = families
        self._start = start
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._ledgers: list[Ledger] = []
        self._options = SimulationOptions(
            families=tuple(families),
            sensors=SENSORS,
            seed=seed,
            rate=rate,
            start=start,
            end=None if start is None else start + LONGEST,
            malformed=0.01,
            late=0.01,
            duplicates=0.01,
            delay=LATE_BY,
        )
        self.acknowledged = 0
        self.published = {
            family.name: Published(family, end_offsets(settings, family.topic)) for family in families
        }
        self._began = start or datetime.now(UTC)
        self._thread = threading.Thread(target=self._run, name="chaos-load", daemon=True)

    def start(self) -> None:
        """Begin to publish."""
        self._thread.start()

    def check(self) -> None:
        """See to it that the load still runs.

        Raises:
            ScenarioError: it has ended by itself.
        """
        if not self._thread.is_alive() and not self._stop.is_set():
            raise ScenarioError(f"the load ended by itself: {self._error or 'all of its day was published'}")

    def stop(self) -> None:
        """Stop, wait for the broker's answers and enter them into :attr:`published`.

        Raises:
            ScenarioError: records failed, or the broker did not answer for some.
        """
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise ScenarioError(f"the load failed: {self._error}") from self._error
        for ledger in self._ledgers:
            if ledger.failed or ledger.unknown:
                raise ScenarioError(f"the broker refused {ledger.failed} records and left {ledger.unknown} open")
            self._enter(ledger)

    def close_windows(self) -> datetime:
        """Publish one event to every partition that lets the watermark pass all windows of the load.

        Returns:
            The time from which the next load may start.
        """
        newest = max(entry.until for entry in self.published.values())
        moment = newest + LONGEST_WINDOW + MINUTE / 2
        for entry in self.published.values():
            self._close_windows_of(entry, moment)
        return moment.replace(second=0) + MINUTE

    def _run(self) -> None:
        try:
            self._ledgers = run_simulation(self._options, self._settings, self._progress, self._stop)
        except Exception as error:  # noqa: BLE001 - it is raised where the load is stopped
            self._error = error

    def _progress(self, *, sent: int, acknowledged: int, waiting_for_broker: bool) -> None:
        self.acknowledged = acknowledged

    def _enter(self, ledger: Ledger) -> None:
        entry = self.published[ledger.family]
        entry.acknowledged += ledger.acknowledged
        entry.invalid += ledger.by_kind.malformed
        entry.late, entry.duplicates = ledger.by_kind.late, ledger.by_kind.duplicate
        entry.minutes.update(ledger.events_by_minute)
        entry.since = self._began - 2 * LATE_BY
        entry.until = datetime.fromisoformat(max(ledger.events_by_minute)) + MINUTE

    def _close_windows_of(self, entry: Published, moment: datetime) -> None:
        events = [
            {
                "event_id": f"closing-{moment.isoformat()}-{partition}",
                "sensor_id": f"closing-{partition}",
                "event_time": wire_time(moment),
            }
            for partition in entry.first_offsets
        ]
        publish(self._settings, entry.family.topic, events, partitions=list(entry.first_offsets))
        entry.acknowledged += len(events)
        entry.minutes[f"{moment:%Y-%m-%dT%H:%MZ}"] += len(events)
        entry.closed_until, entry.until = entry.until, moment + MINUTE


def wire_time(moment: datetime) -> str:
    """``moment`` as sensors write it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def publish(
    settings: Settings,
    topic: str,
    events: Sequence[Mapping[str, object]],
    *,
    partitions: Sequence[int] | None = None,
) -> None:
    """Publish ``events`` and wait for the answers; ``partitions`` says where each goes, by default its key does.

    Raises:
        ScenarioError: the broker did not take all.
    """
    refused: list[str] = []

    def on_delivery(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            refused.append(error.str())

    producer = Producer({**client_config(settings), "enable.idempotence": True, "log_level": 0})
    for index, event in enumerate(events):
        where = {} if partitions is None else {"partition": partitions[index]}
        key = str(event["sensor_id"])
        producer.produce(topic, orjson.dumps(event), key=key, on_delivery=on_delivery, **where)
    left = producer.flush(FLUSH_S)
    if left or refused:
        raise ScenarioError(f"{topic}: {left} events unanswered, refused: {', '.join(refused) or 'none'}")
