"""What the sources publish, read back by a consumer of its own and held against the ledger."""

import json
import threading
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from contracts import Family, families, family
from resources.kafka import KafkaUnavailableError, end_offsets, ensure_topics
from settings import Settings
from sources.ledger import Ledger
from sources.replay import ReplayOptions, run_replay
from sources.simulate import SimulationOptions, run_simulation

START = datetime(2026, 3, 2, 6, tzinfo=UTC)
NIGHT = SimulationOptions(start=START, end=START + timedelta(minutes=30), sensors=40, seed=11)
FAULTY = replace(NIGHT, malformed=0.03, late=0.02, duplicates=0.04)


def published(settings: Settings, topic: str, since: dict[int, int]) -> list[Message]:
    """Every record of ``topic`` from the offsets ``since`` to its end."""
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": "test-sources"})
    ends = end_offsets(settings, topic)
    wanted = {partition: end for partition, end in ends.items() if end > since[partition]}
    consumer.assign([TopicPartition(topic, partition, since[partition]) for partition in wanted])
    messages: list[Message] = []
    while wanted:
        for message in consumer.consume(10_000, timeout=1):
            assert message.error() is None
            messages.append(message)
            if message.offset() + 1 == wanted.get(message.partition()):
                del wanted[message.partition()]
    consumer.close()
    return messages


def check_against_topic(ledger: Ledger, messages: list[Message]) -> None:
    """Everything that the ledger says, counted from the records themselves."""
    assert ledger.failed == ledger.unknown == 0
    assert ledger.acknowledged == len(messages)
    for partition, account in ledger.partitions.items():
        offsets = [message.offset() for message in messages if message.partition() == partition]
        assert (account.count, account.first_offset, account.last_offset) == (
            len(offsets),
            min(offsets),
            max(offsets),
        )
    assert sum(account.count for account in ledger.partitions.values()) == len(messages)
    events = [event for message in messages if (event := readable(message)) is not None]
    assert ledger.by_kind.malformed == len(messages) - len(events)
    assert ledger.distinct_events == len({event["event_id"] for event in events})
    assert ledger.by_kind.duplicate == len(events) - ledger.distinct_events
    minutes = Counter(event["event_time"][:16] + "Z" for event in events)
    assert ledger.events_by_minute == dict(sorted(minutes.items()))
    assert ledger.sensors == len({message.key() for message in messages})


def readable(message: Message) -> dict[str, str] | None:
    """The event of a record, unless its identity or time cannot be read."""
    try:
        event: dict[str, str] = json.loads(message.value())
        datetime.fromisoformat(event["event_time"])
        return event if event["event_id"] and event["sensor_id"] else None
    except (ValueError, TypeError, KeyError):
        return None


def test_topics_are_as_declared_and_left_alone(settings: Settings) -> None:
    assert ensure_topics(settings, families()) == []
    topics = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers}).list_topics(timeout=30).topics
    for member in families():
        assert len(topics[member.topic].partitions) == member.topic_partitions


def test_a_missing_topic_is_created(settings: Settings) -> None:
    extra = replace(family("traffic"), name="temporary", topic_partitions=3)
    assert ensure_topics(settings, [extra, family("traffic")]) == ["sensors.temporary", "hot.temporary"]
    assert ensure_topics(settings, [extra]) == []
    assert end_offsets(settings, extra.topic) == {0: 0, 1: 0, 2: 0}
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    admin.delete_topics([extra.topic])[extra.topic].result()


def test_a_broker_that_is_not_there_is_named(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
    for ask in (lambda: ensure_topics(nowhere, families()), lambda: end_offsets(nowhere, "sensors.traffic")):
        with pytest.raises(KafkaUnavailableError, match=r"127\.0\.0\.1:1 does not answer"):
            ask()
    with pytest.raises(KafkaUnavailableError, match=r"no topic sensors\.nothing"):
        end_offsets(settings, "sensors.nothing")


def test_the_ledger_of_a_simulation_is_what_the_topics_hold(settings: Settings, tmp_path: Path) -> None:
    before = {member.name: end_offsets(settings, member.topic) for member in families()}
    ledgers = run_simulation(replace(FAULTY, ledger_folder=tmp_path), settings)
    assert [ledger.family for ledger in ledgers] == [member.name for member in families()]
    for ledger in ledgers:
        assert ledger.complete
        assert ledger.path is not None
        assert Ledger.load(ledger.path) == ledger
        messages = published(settings, ledger.topic, before[ledger.family])
        check_against_topic(ledger, messages)
        places: dict[bytes, set[int]] = {}
        for message in messages:
            places.setdefault(message.key(), set()).add(message.partition())
            event = readable(message)
            assert event is None or message.key() == event["sensor_id"].encode()
        assert all(len(partitions) == 1 for partitions in places.values())


def test_the_same_simulation_publishes_the_same_events(settings: Settings, tmp_path: Path) -> None:
    member = family("weather")
    options = replace(NIGHT, families=(member,), ledger_folder=tmp_path)
    runs = []
    for _ in range(2):
        before = end_offsets(settings, member.topic)
        run_simulation(options, settings)
        runs.append(sorted(message.value() for message in published(settings, member.topic, before)))
    assert runs[0] == runs[1]
    assert len(runs[0]) > 1000


def test_a_live_simulation_is_of_now(settings: Settings, tmp_path: Path) -> None:
    member = family("traffic")
    before = end_offsets(settings, member.topic)
    options = SimulationOptions(
        families=(member,), sensors=10, rate=200, duration=timedelta(seconds=2), ledger_folder=tmp_path
    )
    (ledger,) = run_simulation(options, settings)
    messages = published(settings, member.topic, before)
    check_against_topic(ledger, messages)
    for message in messages:
        event = readable(message)
        assert event is not None
        # never sent before its time, by clocks that may be set meanwhile: all at once would be two seconds early
        early = datetime.fromisoformat(event["event_time"]).timestamp() - message.timestamp()[1] / 1000
        assert early < 1


def test_a_run_that_is_stopped_still_has_its_ledger(settings: Settings, tmp_path: Path) -> None:
    member = family("energy")
    before = end_offsets(settings, member.topic)
    stop = threading.Event()

    def stop_after_some(*, sent: int, acknowledged: int, waiting_for_broker: bool) -> None:
        if acknowledged > 1000:
            stop.set()

    options = SimulationOptions(families=(member,), rate=20_000, ledger_folder=tmp_path)
    (ledger,) = run_simulation(options, settings, stop_after_some, stop)
    assert not ledger.complete
    assert ledger.acknowledged > 1000
    check_against_topic(ledger, published(settings, member.topic, before))


def test_a_replay_publishes_every_usable_row_and_reports_the_others(settings: Settings, tmp_path: Path) -> None:
    member = family("weather")
    options = weather_file(tmp_path, member)
    before = end_offsets(settings, member.topic)
    ledger = run_replay(options, settings)
    messages = published(settings, member.topic, before)
    check_against_topic(ledger, messages)
    assert (ledger.rows_read, ledger.acknowledged, ledger.rejected) == (5000, 4950, 50)
    assert ledger.rejected_by_reason == {"f: not a number": 50}
    assert ledger.rejected_file is not None
    rejected = [json.loads(line) for line in ledger.rejected_file.read_bytes().splitlines()]
    assert [row["row"] for row in rejected] == list(range(2, 5002, 100))
    assert rejected[0] == {
        "file": str(options.path),
        "row": 2,
        "column": "f",
        "value": "?",
        "reason": "not a number",
    }
    for message in messages:
        event = json.loads(message.value())
        fahrenheit = int(event["event_time"][14:16]) + 30
        assert event["temperature_c"] == pytest.approx((fahrenheit - 32) * 5 / 9)

    again = end_offsets(settings, member.topic)
    run_replay(options, settings)
    repeated = {json.loads(message.value())["event_id"] for message in published(settings, member.topic, again)}
    assert repeated == {json.loads(message.value())["event_id"] for message in messages}
    assert len(repeated) == 4950


def weather_file(folder: Path, member: Family) -> ReplayOptions:
    """5,000 rows, a minute apart; one of a hundred has no readable temperature."""
    start = datetime(2025, 1, 1, tzinfo=UTC)
    rows = [
        f"{(start + timedelta(minutes=number)).isoformat()},{'?' if number % 100 == 0 else number % 60 + 30}"
        for number in range(5000)
    ]
    data, mapping = folder / "input.csv", folder / "mapping.yaml"
    data.write_text("t,f\n" + "\n".join(rows) + "\n")
    mapping.write_text(
        "time: {columns: t, format: iso8601}\n"
        "sensor_id: roof\n"
        "event_id: {columns: [t]}\n"
        "columns: {temperature_c: {column: f, unit: degF}}\n"
    )
    return ReplayOptions(data, member, mapping, ledger_folder=folder / "ledgers")
