"""Every kind of damage has its class and field, and what the stream takes has none."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import ColumnType, Family, families, family
from contracts.tables import EARLIEST_EVENT_TIME, SCHEMA_VERSION, event_columns
from dead_letters.classify import ErrorClass, classify

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)
TRAFFIC = family("traffic")

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
doubles = st.floats(allow_nan=False, allow_infinity=False)
VALUES: dict[ColumnType, st.SearchStrategy[Any]] = {
    ColumnType.STRING: text,
    ColumnType.INT: st.integers(-(2**31), 2**31 - 1),
    ColumnType.LONG: st.integers(-(2**63), 2**63 - 1),
    ColumnType.DOUBLE: doubles | doubles.map(str) | st.integers(-(10**15), 10**15),
    ColumnType.TIMESTAMP: st.datetimes(datetime(2000, 1, 1), datetime(2026, 11, 24, 8)).map(
        lambda moment: moment.isoformat(timespec="microseconds") + "Z"
    ),
}


@st.composite
def events(draw: st.DrawFn, member: Family | None = None) -> tuple[Family, dict[str, Any]]:
    """A valid event of some family, with its optional members left out or null at random."""
    chosen = member or draw(st.sampled_from(families()))
    event: dict[str, Any] = {}
    for column in draw(st.permutations(event_columns(chosen))):
        present = not column.nullable or draw(st.booleans())
        if present:
            value = VALUES[column.type] | st.none() if column.nullable else VALUES[column.type]
            event[column.name] = draw(value)
    if draw(st.booleans()):
        event[SCHEMA_VERSION.name] = draw(st.sampled_from([None, *chosen.schema_versions]))
    if draw(st.booleans()):
        event["not declared"] = draw(st.lists(text | st.booleans() | doubles))
    return chosen, event


def encoded(event: dict[str, Any], *, ascii_only: bool = False) -> bytes:
    return json.dumps(event, ensure_ascii=ascii_only).encode()


def outcome(payload: bytes | None, member: Family = TRAFFIC) -> tuple[str, str | None] | None:
    defect = classify(payload, NOW, member)
    return None if defect is None else (str(defect.error_class), defect.field)


@given(events(), st.booleans())
def test_a_valid_event_has_no_defect(drawn: tuple[Family, dict[str, Any]], ascii_only: bool) -> None:
    member, event = drawn
    assert classify(encoded(event, ascii_only=ascii_only), NOW, member) is None


@given(st.binary(max_size=200), st.sampled_from(families()))
def test_nothing_makes_it_fail(payload: bytes, member: Family) -> None:
    found = classify(payload, NOW, member)
    assert found is not None
    assert found.message
    assert found.message.isprintable()
    found.message.encode()


@given(events(), st.data())
def test_a_damaged_event_has_a_message_of_one_line(
    drawn: tuple[Family, dict[str, Any]], data: st.DataObject
) -> None:
    member, event = drawn
    payload = bytearray(encoded(event))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    found = classify(bytes(payload), NOW, member)
    if found is not None:
        assert found.message.isprintable()
        found.message.encode()


@given(events(), st.data())
def test_a_cut_event_is_truncated(drawn: tuple[Family, dict[str, Any]], data: st.DataObject) -> None:
    member, event = drawn
    payload = encoded(event, ascii_only=True)
    cut = data.draw(st.integers(1, len(payload) - 1))
    assert outcome(payload[:cut], member) == ("truncated", None)


@given(events(), st.data())
def test_a_required_member_is_missed(drawn: tuple[Family, dict[str, Any]], data: st.DataObject) -> None:
    member, event = drawn
    name = data.draw(st.sampled_from(["event_id", "sensor_id", "event_time"]))
    assert outcome(encoded({**event, name: None}), member) == ("missing_field", name)
    del event[name]
    assert outcome(encoded(event), member) == ("missing_field", name)


@given(events(), st.data())
def test_a_wrong_type_is_named(drawn: tuple[Family, dict[str, Any]], data: st.DataObject) -> None:
    member, event = drawn
    names = [
        column.name for column in event_columns(member) if column.type in {ColumnType.LONG, ColumnType.DOUBLE}
    ]
    name = data.draw(st.sampled_from(names))
    wrong = data.draw(st.sampled_from(["fast", "", "1,5", True, [], {}, "12 km/h", "null"]))
    assert outcome(encoded({**event, name: wrong}), member) == ("wrong_type", name)


@given(events(), st.integers(-(2**31), 2**31 - 1).filter(lambda number: number != 1))
def test_an_unknown_schema_version_is_named(drawn: tuple[Family, dict[str, Any]], version: int) -> None:
    member, event = drawn
    event[SCHEMA_VERSION.name] = version
    assert outcome(encoded(event), member) == ("unknown_schema_version", "schema_version")
    assert outcome(encoded(event), replace(member, schema_versions=(1, version))) is None


@given(events(), st.timedeltas(timedelta(microseconds=1), timedelta(days=365 * 1000)))
def test_a_clock_that_is_ahead_is_told_from_one_that_is_just_not(
    drawn: tuple[Family, dict[str, Any]], ahead: timedelta
) -> None:
    member, event = drawn
    latest = NOW + member.max_clock_ahead
    for moment, expected in ((latest, None), (latest + ahead, ("clock_ahead", "event_time"))):
        event["event_time"] = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        assert outcome(encoded(event), member) == expected


@given(events(), st.timedeltas(timedelta(microseconds=1), timedelta(days=365 * 900)))
def test_a_time_before_there_were_sensors_is_impossible(
    drawn: tuple[Family, dict[str, Any]], before: timedelta
) -> None:
    member, event = drawn
    for moment, expected in (
        (EARLIEST_EVENT_TIME, None),
        (EARLIEST_EVENT_TIME - before, ("impossible_time", "event_time")),
    ):
        event["event_time"] = moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
        assert outcome(encoded(event), member) == expected


EVENT = b'{"event_id":"e","sensor_id":"s","event_time":"2026-11-24T07:00:00Z"'
PARSED = [
    (None, "null_value"),
    (b"", "empty"),
    (b" \r\n\t", "empty"),
    (EVENT + b',"x":"' + b"x" * TRAFFIC.max_event_bytes + b'"}', "oversize"),
    (EVENT + b',"zone":"K\xf6ln"}', "invalid_utf8"),
    (EVENT + b',"zone":"K\xc3"}', "invalid_utf8"),
    (EVENT + b',"zone":"K\xc3', "truncated"),
    (EVENT + b',"vehicle_count":tr', "truncated"),
    (EVENT + b',"vehicle_count":NaN}', "not_json"),
    (EVENT + b',"vehicle_count":01}', "not_json"),
    (EVENT + b",}", "not_json"),
    (b"sensor=1;count=7", "not_json"),
    (b"\xef\xbb\xbf" + EVENT + b"}", "not_json"),
    (b"[" + EVENT + b"}]", "not_an_object"),
    (b"null", "not_an_object"),
    (b'"text"', "not_an_object"),
    (EVENT + b',"x":' + b"[" * 5000 + b"]" * 5000 + b"}", "unclassified"),
    (EVENT + b',"x":' + b"1" * 1001 + b"}", "unclassified"),
]


@pytest.mark.parametrize(("payload", "expected"), PARSED, ids=[f"{n}-{c}" for n, (_, c) in enumerate(PARSED)])
def test_what_cannot_be_read(payload: bytes | None, expected: str) -> None:
    assert outcome(payload) == (expected, None)


# what the stream does with each, found by running Flink 2.1.3's JSON format on them
VALUES_READ = [
    ("vehicle_count", b"1.9", None),
    ("vehicle_count", b"1e2", None),
    ("vehicle_count", b'" 12 "', None),
    ("vehicle_count", b'"+12"', None),
    ("vehicle_count", b'"1.5"', "wrong_type"),
    ("vehicle_count", b"9223372036854775807", None),
    ("vehicle_count", b"9223372036854775808", "wrong_type"),
    ("vehicle_count", b"1e30", "wrong_type"),
    ("avg_speed_kmh", b'"12.5"', None),
    ("avg_speed_kmh", b"1e400", None),
    ("avg_speed_kmh", b'"NaN"', None),
    ("avg_speed_kmh", b'"0x1p3"', None),
    ("avg_speed_kmh", b'"1_0"', "wrong_type"),
    ("avg_speed_kmh", b"true", "wrong_type"),
    ("zone", b"12", None),
    ("zone", b'{"a":1}', None),
    ("zone", b'"\\ud800"', None),
    ("zone", b'"tab\there"', None),
    ("schema_version", b'"1"', None),
    ("schema_version", b"2147483648", "wrong_type"),
    ("event_time", b'"2026-11-24T07:00Z"', None),
    ("event_time", b'"2026-11-24T07:00:00.123456789Z"', None),
    ("event_time", b'"2026-11-24T07:00:00.Z"', None),
    ("event_time", b'"2026-02-30T07:00:00Z"', None),
    ("event_time", b'"2026-11-23T24:00:00Z"', None),
    ("event_time", b'"2026-11-23T24:00:01Z"', "impossible_time"),
    ("event_time", b'"2026-02-32T07:00:00Z"', "impossible_time"),
    # leap seconds: neither Java nor Iceberg has a place for them
    ("event_time", b'"2016-12-31T23:59:60Z"', "impossible_time"),
    ("event_time", b'"2016-12-31T23:59:60.5Z"', "impossible_time"),
    ("event_time", b'"2016-12-31T23:59:59.999999Z"', None),
    ("event_time", b'"2026-11-24T07:00:00"', "impossible_time"),
    ("event_time", b'"2026-11-24 07:00:00Z"', "impossible_time"),
    ("event_time", b'"2026-11-24T07:00:00+01:00"', "impossible_time"),
    ("event_time", b'"2026-11-24T07:00:00.1234567891Z"', "impossible_time"),
    ("event_time", b"1763967600000", "impossible_time"),
    ("event_time", b"{}", "impossible_time"),
    ("event_time", b'"0000-11-24T07:00:00Z"', "impossible_time"),
    ("event_time", b'"+12026-11-24T07:00:00Z"', "clock_ahead"),
    ("event_time", b'"9999-12-31T24:00:00Z"', "clock_ahead"),
]


@pytest.mark.parametrize(("name", "value", "expected"), VALUES_READ)
def test_values_are_read_as_the_stream_reads_them(name: str, value: bytes, expected: str | None) -> None:
    members = {"event_id": b'"e"', "sensor_id": b'"s"', "event_time": b'"2026-11-24T07:00:00Z"', name: value}
    payload = b"{" + b",".join(b'"' + key.encode() + b'":' + text for key, text in members.items()) + b"}"
    assert outcome(payload) == (None if expected is None else (expected, name))


def test_a_former_name_is_read_as_the_column_is() -> None:
    count = next(measure for measure in TRAFFIC.measures if measure.name == "vehicle_count")
    renamed = replace(count, name="vehicles", formerly=("vehicle_count",))
    member = replace(TRAFFIC, measures=(renamed, *(m for m in TRAFFIC.measures if m is not count)), rules=())
    for name in ("vehicles", "vehicle_count"):
        assert outcome(EVENT + f',"{name}":7}}'.encode(), member) is None
        assert outcome(EVENT + f',"{name}":"many"}}'.encode(), member) == ("wrong_type", name)
    assert outcome(EVENT + b',"vehicles":"many"}') is None


def test_what_follows_the_object_is_not_looked_at() -> None:
    for following in (b" trailing", b"\xff", b"}", EVENT):
        assert outcome(EVENT + b"}" + following) is None


def test_a_name_that_stands_twice_counts_with_its_last_value() -> None:
    assert outcome(EVENT + b',"event_id":null}') == ("missing_field", "event_id")
    assert outcome(b'{"event_time":"never",' + EVENT[1:] + b"}") == ("impossible_time", "event_time")


def test_messages_say_what_to_do_and_shorten_the_value() -> None:
    long = classify(EVENT + b',"vehicle_count":"' + b"9" * 500 + b'"}', NOW, TRAFFIC)
    assert long is not None
    assert long.error_class is ErrorClass.WRONG_TYPE
    assert long.message.startswith('vehicle_count is "999')
    assert "expected an integer in {vehicle}" in long.message
    assert len(long.message) < 200
    ahead = classify(EVENT.replace(b"2026", b"2027") + b"}", NOW, TRAFFIC)
    assert ahead is not None
    assert ahead.message == (
        'event_time "2027-11-24T07:00:00Z" is after 2026-11-24T08:01:00.000Z, the time of the broker plus 60 s: '
        "set the sensor's clock"
    )
