"""The JSON on the topic, held against the standard library's JSON reader."""

import json
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from contracts import family
from sources.wire import encode, event_schema, format_times, record_keys

WEATHER = family("weather")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

instants = st.datetimes(
    min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31, 23, 59, 59, 999_999), timezones=st.just(UTC)
)
doubles = st.none() | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]))


@st.composite
def events(draw: st.DrawFn) -> dict[str, object]:
    measures = {measure.name: draw(doubles) for measure in WEATHER.measures}
    return {
        "event_id": draw(texts),
        "sensor_id": draw(texts),
        "event_time": draw(instants),
        "zone": draw(st.none() | texts),
        "latitude": draw(doubles),
        "longitude": draw(doubles),
        **measures,
    }


@given(st.lists(events(), max_size=5))
def test_every_value_reads_back_as_it_was(rows: list[dict[str, object]]) -> None:
    batch = pa.RecordBatch.from_pylist(rows, schema=event_schema(WEATHER))
    read = [json.loads(payload) for payload in encode(batch)]
    for event in read:
        assert event["event_time"].endswith("Z")
        event["event_time"] = datetime.fromisoformat(event["event_time"])
    assert read == rows
    assert record_keys(batch) == [str(row["sensor_id"]).encode() for row in rows]


@given(st.lists(instants, min_size=1, max_size=5))
def test_times_have_six_decimals_and_a_z(times: list[datetime]) -> None:
    micros = [(time - EPOCH) // timedelta(microseconds=1) for time in times]
    texts = format_times(pa.array(micros).to_numpy()).to_pylist()
    assert texts == [time.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z" for time in times]


def test_a_slice_of_a_batch_is_encoded_alone() -> None:
    rows = [
        {"event_id": str(number), "sensor_id": "s", "event_time": EPOCH, "temperature_c": number / 10}
        for number in range(5)
    ]
    batch = pa.RecordBatch.from_pylist(rows, schema=event_schema(WEATHER)).slice(2, 2)
    assert [json.loads(payload)["event_id"] for payload in encode(batch)] == ["2", "3"]
