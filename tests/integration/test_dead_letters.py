"""What the stream leaves out is in the dead letters, once, as it was; and can come back, once."""

import base64
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psutil
import pyarrow as pa
import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table as IcebergTable
from typer import Typer
from typer.testing import CliRunner
from waiting import until

from contracts import Family, bronze_events, families, family
from dead_letters import store
from dead_letters.classify import ErrorClass, classify
from dead_letters.commands import dead_letters
from dead_letters.fetch import Record, RecordReader
from dead_letters.listing import Filter, counts, newest
from dead_letters.retry import HEADER, RetryReport, retry
from dead_letters.store import DeadLetter
from resources.catalog import ensure_tables, open_catalog
from resources.kafka import end_offsets
from settings import Settings
from stack.local.status import status

WEATHER = family("weather")
Places = dict[tuple[int, int], bytes | None]


@dataclass(frozen=True)
class Sent:
    """Where a record went, what was in it, and what the dead letters should say of it."""

    partition: int
    offset: int
    payload: bytes | None
    expected: tuple[str, str | None] | None

    @property
    def place(self) -> tuple[int, int]:
        return self.partition, self.offset


def event(sensor_id: str, **members: Any) -> dict[str, Any]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {"event_id": str(uuid4()), "sensor_id": sensor_id, "event_time": now, **members}


def publish(
    settings: Settings,
    member: Family,
    payloads: list[tuple[bytes | None, tuple[str, str | None] | None]],
    key: str,
) -> list[Sent]:
    """Publish to the partition of ``key`` and return where each record went."""
    reports: list[Message] = []
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers, "enable.idempotence": True})
    for payload, _ in payloads:
        producer.produce(member.topic, payload, key=key, on_delivery=lambda _, message: reports.append(message))
        producer.poll(0)
    assert producer.flush(60) == 0
    assert [report.error() for report in reports] == [None] * len(payloads)
    return [
        Sent(report.partition(), report.offset(), payload, expected)
        for report, (payload, expected) in zip(reports, payloads, strict=True)
    ]


def damaged(sensor_id: str) -> list[tuple[bytes | None, tuple[str, str | None] | None]]:
    """One record of each kind of error that can be provoked, with a valid one after each."""

    def text(**members: Any) -> bytes:
        return json.dumps(event(sensor_id, **members)).encode()

    whole = text(zone="centre")
    broken: list[tuple[bytes | None, tuple[str, str | None]]] = [
        (None, ("null_value", None)),
        (b"", ("empty", None)),
        (b" \n", ("empty", None)),
        (text(padding="x" * WEATHER.max_event_bytes), ("oversize", None)),
        (whole.replace(b"centre", b"c\xffntre"), ("invalid_utf8", None)),
        (b"temperature=12", ("not_json", None)),
        (whole[:-9], ("truncated", None)),
        (b"[" + whole + b"]", ("not_an_object", None)),
        (text(temperature_c="warm"), ("wrong_type", "temperature_c")),
        (text(event_id=None), ("missing_field", "event_id")),
        (text(schema_version=7), ("unknown_schema_version", "schema_version")),
        (text(event_time="yesterday"), ("impossible_time", "event_time")),
        (text(event_time="1999-12-31T23:59:59Z"), ("impossible_time", "event_time")),
        (text(event_time="2999-01-01T00:00:00Z"), ("clock_ahead", "event_time")),
    ]
    return [record for defect in broken for record in (defect, (text(temperature_c=21.5), None))]


def bronze_places(settings: Settings, member: Family) -> Counter[tuple[int, int]]:
    table = open_catalog(settings).load_table(bronze_events(member).identifier)
    rows = table.scan(selected_fields=("kafka_partition", "kafka_offset")).to_arrow()
    return Counter(zip(rows["kafka_partition"].to_pylist(), rows["kafka_offset"].to_pylist(), strict=True))


def stored(settings: Settings, member: Family) -> pa.Table:
    table = store.load(open_catalog(settings))
    return table.scan(row_filter=Filter(member.name).expression()).to_arrow()


def stored_places(settings: Settings, member: Family) -> Counter[tuple[int, int]]:
    rows = stored(settings, member)
    return Counter(zip(rows["kafka_partition"].to_pylist(), rows["kafka_offset"].to_pylist(), strict=True))


def check_partition(settings: Settings, member: Family, sent: list[Sent]) -> None:
    """Wait for all of ``sent``, then hold each record against both tables."""
    bad = {record.place: record for record in sent if record.expected is not None}
    good = {record.place for record in sent if record.expected is None}
    until(lambda: stored_places(settings, member).keys() >= bad.keys(), "what is bad is among the dead letters")
    until(lambda: bronze_places(settings, member).keys() >= good, "what is good is in bronze")
    letters = stored_places(settings, member)
    assert not letters.keys() & bronze_places(settings, member).keys()
    assert set(letters.values()) == {1}
    rows = {(row["kafka_partition"], row["kafka_offset"]): row for row in stored(settings, member).to_pylist()}
    for place, record in bad.items():
        row = rows[place]
        assert (row["error_class"], row["error_field"]) == record.expected
        assert (row["topic"], row["family"]) == (member.topic, member.name)
        assert row["payload"] == record.payload
        assert row["error_message"].isprintable()


def test_each_kind_of_error_is_collected_and_what_is_valid_is_not(settings: Settings) -> None:
    sent = publish(settings, WEATHER, damaged("dead-letters-1"), "dead-letters-1")
    assert {record.expected[0] for record in sent if record.expected} == set(ErrorClass) - {"unclassified"}
    check_partition(settings, WEATHER, sent)


def test_what_nothing_follows_is_collected_too(settings: Settings) -> None:
    bad = [(b'{"sensor_id":"dead-letters-tail"', ("truncated", None))] * 3
    sent = publish(settings, family("energy"), [*bad], "dead-letters-tail")
    check_partition(settings, family("energy"), sent)


def test_the_stream_and_the_classifier_agree_on_odd_values(settings: Settings) -> None:
    """The oracle is Flink itself: a record is in bronze exactly if the classifier finds nothing wrong with it."""
    values = [
        "1", "1.9", "1e400", '"12.5"', '" 7 "', '"NaN"', '"0x1p3"', '"1_0"', "true", "null", '""', "[]", "{}",
        '"2026-02-30T07:00:00Z"', '"2026-11-24T07:00Z"', '"2026-11-24T07:00:00"', '"2026-11-23T24:00:00Z"',
        '"2026-11-24T07:00:00.1234567891Z"', "2147483648", "99999999999999999999", '"\\ud800"',
        '"\tx"', "NaN", "01",
    ]  # fmt: skip
    names = ("event_id", "event_time", "zone", "latitude", "temperature_c", "schema_version")
    payloads: list[bytes] = []
    for name in names:
        for value in values:
            base = {key: json.dumps(member) for key, member in event("dead-letters-odd").items()}
            payloads.append(
                ("{" + ",".join(f'"{k}":{v}' for k, v in {**base, name: value}.items()) + "}").encode()
            )
    whole = json.dumps(event("dead-letters-odd")).encode()
    payloads += [whole + b" trailing", whole + b"\xff", b" " + whole, b"\xef\xbb\xbf" + whole, whole[:-1] + b",}"]
    payloads += [whole[:-1] + b',"x":"\xc0\x80"}', whole[:-1] + b',"x":"\xff"}', whole[:-1] + b',"event_id":null}']
    payloads.append(whole)  # so that the partition ends with what is valid
    sent = publish(settings, WEATHER, [(payload, None) for payload in payloads], "dead-letters-odd")
    now = datetime.now(UTC)
    found = [(record, classify(record.payload, now, WEATHER)) for record in sent]
    expected = [
        replace(record, expected=None if defect is None else (str(defect.error_class), defect.field))
        for record, defect in found
    ]
    assert 50 < sum(record.expected is None for record in expected) < len(sent) - 50
    check_partition(settings, WEATHER, expected)


def collector_pid(settings: Settings) -> int:
    (service,) = (service for service in status(settings).services if service.name == "dead-letters")
    return service.pid or 0


def test_a_collector_that_is_killed_loses_and_doubles_nothing(settings: Settings) -> None:
    member = family("traffic")
    sent: list[Sent] = []
    for number in range(4):
        sensor_id = f"dead-letters-kill-{number}"
        bad = [(b'{"n":%d' % index, ("truncated", None)) for index in range(3000)]
        sent += publish(settings, member, [*bad, (json.dumps(event(sensor_id)).encode(), None)], sensor_id)
        until(lambda: collector_pid(settings) > 0, "the collector runs")
        with suppress(psutil.NoSuchProcess):
            psutil.Process(collector_pid(settings)).send_signal(signal.SIGKILL)
    check_partition(settings, member, sent)


@pytest.fixture
def other_letters(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[IcebergTable]:
    """A table of dead letters that no collector writes to."""
    catalog = open_catalog(settings)
    contract = replace(store.TABLE, name=f"dead_letters_{os.getpid()}")
    monkeypatch.setattr(store, "TABLE", contract)
    ensure_tables(catalog, [contract], commit_retries=settings.commit_retries)
    yield store.load(catalog)
    catalog.drop_table(contract.identifier)


def test_two_collectors_cannot_store_the_same(other_letters: IcebergTable) -> None:
    record = Record(WEATHER.topic, 0, 5, datetime.now(UTC), b"key", b"no JSON")
    defect = classify(record.value, record.time, WEATHER)
    assert defect is not None
    batch = [DeadLetter(record, defect)]
    position = store.Position("uuid", "1", 1, {0: 6})
    seen_by_second = store.load(other_letters.catalog)
    after = store.commit(other_letters, WEATHER.name, [batch, []], position)
    assert store.read_position(after, WEATHER.name) == position
    with pytest.raises(CommitFailedException):
        store.commit(seen_by_second, WEATHER.name, [batch], position)
    with pytest.raises(CommitFailedException):
        store.commit(seen_by_second, WEATHER.name, [], store.Position("uuid"))
    moved = store.commit(after, WEATHER.name, [], replace(position, next_offsets={0: 9}))
    assert store.read_position(moved, WEATHER.name) == store.Position("uuid", "1", 1, {0: 9})
    assert moved.scan().to_arrow()["payload"].to_pylist() == [b"no JSON"]


def test_a_commit_that_is_cut_short_stores_nothing(other_letters: IcebergTable) -> None:
    record = Record(WEATHER.topic, 0, 5, datetime.now(UTC), None, None)
    defect = classify(record.value, record.time, WEATHER)
    assert defect is not None
    letter = DeadLetter(record, defect)

    def batches() -> Iterator[list[DeadLetter]]:
        yield [letter]
        raise InterruptedError

    with pytest.raises(InterruptedError):
        store.commit(other_letters, WEATHER.name, batches(), store.Position("uuid", "1", 1, {0: 6}))
    after = store.load(other_letters.catalog)
    assert store.read_position(after, WEATHER.name) is None
    assert after.current_snapshot() is None


def test_only_what_was_published_is_read(settings: Settings) -> None:
    """Control records and aborted ones are passed over; gaps that are far apart and close by come in order."""
    topic = family("energy").topic
    partition = 5
    start = end_offsets(settings, topic)[partition]
    config = {"bootstrap.servers": settings.kafka_bootstrap_servers, "transactional.id": f"test-{os.getpid()}"}
    producer = Producer(config)
    producer.init_transactions(30)
    for commits in (True, False, True):
        producer.begin_transaction()
        for number in range(3):
            producer.produce(topic, f"{commits}-{number}".encode(), partition=partition)
        producer.flush()
        if commits:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)
    end = end_offsets(settings, topic)[partition]
    assert end - start == 12  # three records and a marker each
    with RecordReader(settings) as reader:
        everything = list(reader.read(topic, partition, [range(start, end)]))
        assert [record.offset - start for record in everything] == [0, 1, 2, 8, 9, 10]
        some = reader.read(topic, partition, [range(start + at, start + at + 1) for at in (1, 3, 5, 7, 9, 11)])
        assert [record.offset - start for record in some] == [1, 9]
        assert list(reader.read(topic, partition, [])) == []


def published_again(settings: Settings, topic: str, place: str) -> int:
    """How often a record says that it is the one at ``place``."""
    consumer = Consumer({
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "group.id": "test-dead-letters",
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
    })  # fmt: skip
    left = set(end_offsets(settings, topic))
    consumer.assign([TopicPartition(topic, partition, 0) for partition in left])
    found = 0
    while left:
        message = consumer.poll(30)
        assert message is not None
        if message.error() is not None:
            left.remove(message.partition())
        else:
            found += (HEADER, place.encode()) in (message.headers() or [])
    consumer.close()
    return found


def test_what_is_valid_now_is_published_again_once(settings: Settings) -> None:
    sensor_id = "dead-letters-retry"
    soon = datetime.now(UTC) + WEATHER.max_clock_ahead + timedelta(seconds=30)
    early = event(sensor_id, event_time=soon.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    sent = publish(settings, WEATHER, [(json.dumps(early).encode(), ("clock_ahead", "event_time"))], sensor_id)
    check_partition(settings, WEATHER, sent)
    until(lambda: datetime.now(UTC) > soon - WEATHER.max_clock_ahead, "the event is no longer ahead")
    table = store.load(open_catalog(settings))
    chosen = Filter(WEATHER.name, ErrorClass.CLOCK_AHEAD)
    first = retry(settings, table, families(), chosen)
    second = retry(settings, table, families(), chosen)
    assert first.retried >= 1
    assert second == RetryReport(0, first.still_invalid, first.retried + first.retried_before)
    assert published_again(settings, WEATHER.topic, f"{WEATHER.topic}/{sent[0].partition}/{sent[0].offset}") == 1

    def rows() -> int:
        bronze = open_catalog(settings).load_table(bronze_events(WEATHER).identifier)
        return bronze.scan(row_filter=f"event_id = '{early['event_id']}'").count()

    until(lambda: rows() > 0, "the event is in bronze")
    assert rows() == 1


def test_a_changed_contract_makes_an_event_valid(settings: Settings) -> None:
    """The running job keeps its contract, which refuses the event once more: only what is sent is looked at."""
    sensor_id = "dead-letters-version"
    newer = json.dumps(event(sensor_id, schema_version=2)).encode()
    sent = publish(settings, WEATHER, [(newer, ("unknown_schema_version", "schema_version"))], sensor_id)
    check_partition(settings, WEATHER, sent)
    table = store.load(open_catalog(settings))
    chosen = Filter(WEATHER.name, ErrorClass.UNKNOWN_SCHEMA_VERSION)
    assert retry(settings, table, families(), chosen).retried == 0
    changed = [replace(WEATHER, schema_versions=(1, 2))]
    assert retry(settings, table, changed, chosen).retried == 1
    assert retry(settings, table, changed, chosen).retried == 0
    assert published_again(settings, WEATHER.topic, f"{WEATHER.topic}/{sent[0].partition}/{sent[0].offset}") == 1


def test_the_command_lists_what_is_stored(settings: Settings) -> None:
    sent = publish(
        settings, WEATHER, [(b"\xfe", ("invalid_utf8", None)), (b"{}}", ("missing_field", "event_id"))], "x"
    )
    check_partition(settings, WEATHER, sent)
    app = Typer()
    app.command()(dead_letters)
    arguments = ["--family", "weather", "--limit", "1000"]
    listed = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    rows = stored(settings, WEATHER)
    assert listed["total"] == rows.num_rows
    by_class = Counter(rows["error_class"].to_pylist())
    assert {count["error_class"]: count["count"] for count in listed["counts"]} == by_class
    times = [row["kafka_time"] for row in listed["dead_letters"]]
    assert times == sorted(times, reverse=True)
    by_place = {(row["kafka_partition"], row["kafka_offset"]): row for row in listed["dead_letters"]}
    first, second = (by_place[record.place] for record in sent)
    assert base64.b64decode(first["payload"]) == b"\xfe"
    assert (first["payload_encoding"], second["payload_encoding"]) == ("base64", "utf-8")
    assert second["payload"] == "{}}"
    table = store.load(open_catalog(settings))
    assert len(newest(table, Filter("weather"), 2)) == 2
    only = counts(table, Filter("weather", ErrorClass.INVALID_UTF8))
    assert [count.error_class for count in only] == ["invalid_utf8"]
    shown = CliRunner().invoke(app, ["--family", "weather"])
    assert shown.exit_code == 0
    assert "invalid_utf8" in shown.stdout
    assert "topic/partition/offset" in shown.stdout
