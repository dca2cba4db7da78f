"""Records of the hot topics, as Flink writes them and as it must not."""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import family
from hot_view.records import RecordError, RecordReader
from resources.hot_view import MINUTE_FOR, document, zone, zone_bytes

TRAFFIC = family("traffic")
READER = RecordReader(TRAFFIC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def reading(**changes: Any) -> bytes:
    fields = {
        "event_id": "e1",
        "sensor_id": "s1",
        "event_time": "2026-11-24T07:00:00.123456Z",
        "zone": "centre",
        "vehicle_count": 3,
        "kafka_partition": 0,
        "kafka_offset": 7,
        "kafka_time": "2026-11-24T07:00:00.2Z",
    }
    return orjson.dumps(fields | changes)


def written(moment: datetime, decimals: int) -> str:
    fraction = f"{moment.microsecond:06}"[:decimals]
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + (f".{fraction}" if decimals else "") + "Z"


@given(moment=st.datetimes(datetime(2000, 1, 1), datetime(2200, 1, 1)), decimals=st.integers(0, 6))
def test_an_instant_with_any_number_of_decimals_gives_the_expiry(moment: datetime, decimals: int) -> None:
    text = written(moment, decimals)
    instant = datetime.fromisoformat(text)
    update = READER.read(b"sensor:s1", reading(event_time=text))
    assert update.expires_ms == (instant - EPOCH + TRAFFIC.stale_after) // timedelta(milliseconds=1)
    assert update.document == reading(event_time=text)


@given(
    first=st.tuples(st.integers(0, 10**15), st.integers(0, 2**63 - 1), st.integers(0, 2**31 - 1)),
    second=st.tuples(st.integers(0, 10**15), st.integers(0, 2**63 - 1), st.integers(0, 2**31 - 1)),
)
def test_the_order_is_that_of_time_then_offset_then_partition(
    first: tuple[int, int, int], second: tuple[int, int, int]
) -> None:
    def entry(place: tuple[int, int, int]) -> bytes:
        text = written(EPOCH + timedelta(microseconds=place[0]), 6)
        value = reading(event_time=text, kafka_offset=place[1], kafka_partition=place[2])
        return READER.read(b"sensor:s1", value).entry()[:47]

    assert (entry(first) < entry(second)) == (first < second)


@given(name=st.none() | st.text(), text=st.text())
def test_an_entry_gives_back_zone_and_document(name: str | None, text: str) -> None:
    value = reading(zone=name, event_id=text)
    entry = READER.read(b"sensor:s1", value).entry()
    assert b"\n" not in entry
    assert document(entry) == value
    assert zone(entry) == zone_bytes(name)
    assert orjson.loads(b'"%b"' % zone(entry)) == (name or "")


def test_a_document_of_several_lines_becomes_one() -> None:
    update = READER.read(b"sensor:s1", orjson.dumps(orjson.loads(reading()), option=orjson.OPT_INDENT_2))
    assert update.document == reading()


def test_a_minute_is_kept_while_it_can_be_in_a_window() -> None:
    fields = {
        "zone": "centre",
        "minute": "2026-11-24T07:00:00Z",
        "event_count": 5,
        "newest_event": "2026-11-24T07:00:01Z",
    }
    update = READER.read(b"zone:centre:2026-11-24T07:00", orjson.dumps(fields))
    assert update.key == b"hot:traffic:zone:centre:2026-11-24T07:00"
    start = datetime(2026, 11, 24, 7, tzinfo=UTC)
    assert update.expires_ms == (start - EPOCH + MINUTE_FOR) // timedelta(milliseconds=1)
    assert update.document == orjson.dumps(fields)


@pytest.mark.parametrize("value", [None, b""])
def test_a_null_value_is_a_tombstone(value: bytes | None) -> None:
    assert READER.read(b"sensor:s1", value).entry() == b""


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, reading()),
        (b"other:s1", reading()),
        (b"sensor:s1", b"{"),
        (b"sensor:s1", b"[]"),
        (b"sensor:s1", b"{}"),
        (b"sensor:s1", reading(event_time=None)),
        (b"sensor:s1", reading(event_time="")),
        (b"sensor:s1", reading(event_time="2026-11-24T07:00:00")),
        (b"sensor:s1", reading(event_time="2026-11-24 07:00:00Z")),
        (b"sensor:s1", reading(event_time="2026-11-24T07:00:00+01:00Z")),
        (b"sensor:s1", reading(event_time="2026-11-24T07:00:00.-12345Z")),
        (b"sensor:s1", reading(event_time="2026-02-30T07:00:00Z")),
        (b"sensor:s1", reading(kafka_offset="7")),
        (b"zone:centre:2026-11-24T07:00", reading()),
    ],
)
def test_what_the_job_does_not_write_is_refused(key: bytes | None, value: bytes) -> None:
    with pytest.raises(RecordError, match="traffic"):
        READER.read(key, value)
