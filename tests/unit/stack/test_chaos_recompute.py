"""The recomputation against numbers worked out by hand, and against windows that are wrong on purpose."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from contracts import Table, family, silver_1m, silver_5m
from resources.iceberg_schema import iceberg_schema
from stack.chaos.recompute import Recomputation, Tables, recomputation

TRAFFIC = family("traffic")
START = datetime(2026, 1, 1, 8, tzinfo=UTC)
END = START + timedelta(minutes=10)
INSTANT = pa.timestamp("us", tz="UTC")
BRONZE = pa.schema([
    ("event_id", pa.string()),
    ("sensor_id", pa.string()),
    ("event_time", INSTANT),
    ("zone", pa.string()),
    ("vehicle_count", pa.int64()),
    ("avg_speed_kmh", pa.float64()),
    ("occupancy_ratio", pa.float64()),
    ("kafka_partition", pa.int32()),
    ("kafka_offset", pa.int64()),
])  # fmt: skip
LATE = pa.schema([("event_time", INSTANT), ("kafka_partition", pa.int32()), ("kafka_offset", pa.int64())])
PLACES = pa.schema([("kafka_partition", pa.int32()), ("kafka_offset", pa.int64())])


def event(offset: int, seconds: float, count: int | None, *, id_: str = "", sensor: str = "a") -> dict[str, Any]:
    return {
        "event_id": id_ or f"e{offset}",
        "sensor_id": sensor,
        "event_time": START + timedelta(seconds=seconds),
        "zone": "north",
        "vehicle_count": count,
        "avg_speed_kmh": None if count is None else count * 1.5,
        "occupancy_ratio": 0.5,
        "kafka_partition": 0,
        "kafka_offset": offset,
    }


EVENTS = [
    event(10, 0.0, 4),
    event(11, 20.0, 2),
    event(12, 20.0, 2, id_="e11"),  # sent twice
    event(13, 10.0, 9),  # out of order, but on time: the last to arrive
    event(14, 59.999999, None),
    event(15, 130.0, 1),
    event(16, 5.0, 100),  # late
    event(17, 5.0, 100, id_="e16"),  # and sent twice
]
LATE_EVENTS = [{"event_time": START + timedelta(seconds=5), "kafka_partition": 0, "kafka_offset": 16}]


@pytest.fixture
def bronze() -> Iterator[Recomputation]:
    tables = Tables(
        bronze=pa.Table.from_pylist(EVENTS, BRONZE),
        late=pa.Table.from_pylist(LATE_EVENTS, LATE),
        dead_letters=pa.Table.from_pylist([{"kafka_partition": 0, "kafka_offset": 9}], PLACES),
    )
    with recomputation(tables) as opened:
        yield opened


def window(minute: int, minutes: int, **values: Any) -> dict[str, Any]:
    start = START + timedelta(minutes=minute)
    return {"window_start": start, "window_end": start + timedelta(minutes=minutes), **values}


MINUTE_0 = window(
    0, 1, sensor_id="a", zone="north", event_count=4,
    vehicle_count_count=3, vehicle_count_min=2, vehicle_count_max=9, vehicle_count_mean=5.0, vehicle_count_last=9,
    avg_speed_kmh_count=3, avg_speed_kmh_min=3.0, avg_speed_kmh_max=13.5, avg_speed_kmh_mean=7.5,
    avg_speed_kmh_last=13.5,
    occupancy_ratio_count=4, occupancy_ratio_min=0.5, occupancy_ratio_max=0.5, occupancy_ratio_mean=0.5,
    occupancy_ratio_last=0.5,
)  # fmt: skip
MINUTE_2 = window(
    2, 1, sensor_id="a", zone="north", event_count=1,
    vehicle_count_count=1, vehicle_count_min=1, vehicle_count_max=1, vehicle_count_mean=1.0, vehicle_count_last=1,
    avg_speed_kmh_count=1, avg_speed_kmh_min=1.5, avg_speed_kmh_max=1.5, avg_speed_kmh_mean=1.5,
    avg_speed_kmh_last=1.5,
    occupancy_ratio_count=1, occupancy_ratio_min=0.5, occupancy_ratio_max=0.5, occupancy_ratio_mean=0.5,
    occupancy_ratio_last=0.5,
)  # fmt: skip


def table(declared: Table, *rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), iceberg_schema(declared).as_arrow())


def differing(bronze: Recomputation, *rows: dict[str, Any]) -> list[str]:
    return bronze.differing_windows(silver_1m(TRAFFIC), table(silver_1m(TRAFFIC), *rows), START, END)


def test_windows_that_are_right(bronze: Recomputation) -> None:
    assert differing(bronze, MINUTE_0, MINUTE_2) == []


def test_sums_in_another_order_are_no_difference(bronze: Recomputation) -> None:
    assert differing(bronze, MINUTE_0 | {"vehicle_count_mean": 5.0 + 1e-13}, MINUTE_2) == []


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("event_count", 5),
        ("vehicle_count_count", 4),
        ("vehicle_count_min", 1),
        ("vehicle_count_max", 100),
        ("vehicle_count_mean", 5.0001),
        ("avg_speed_kmh_mean", None),
        ("vehicle_count_last", 2),
        ("zone", None),
    ],
)
def test_each_value_is_compared(bronze: Recomputation, column: str, value: object) -> None:
    [found] = differing(bronze, MINUTE_0 | {column: value}, MINUTE_2)
    assert found == "a at 2026-01-01 08:00:00 has other values"


def test_windows_that_are_missing_or_too_many(bronze: Recomputation) -> None:
    assert differing(bronze, MINUTE_0) == ["a at 2026-01-01 08:02:00 is missing"]
    assert differing(bronze, MINUTE_0, MINUTE_2, MINUTE_2 | {"sensor_id": "b"}) == [
        "b at 2026-01-01 08:02:00 should not be there"
    ]


def test_windows_that_are_not_closed_are_left_out(bronze: Recomputation) -> None:
    declared = silver_1m(TRAFFIC)
    assert bronze.differing_windows(declared, table(declared, MINUTE_0), START, START + timedelta(minutes=2)) == []


def test_each_event_is_in_five_sliding_windows(bronze: Recomputation) -> None:
    declared = silver_5m(TRAFFIC)
    only_early = {
        "zone": "north", "event_count": 4,
        "vehicle_count_count": 3, "vehicle_count_min": 2, "vehicle_count_max": 9, "vehicle_count_mean": 5.0,
        "avg_speed_kmh_count": 3, "avg_speed_kmh_min": 3.0, "avg_speed_kmh_max": 13.5, "avg_speed_kmh_mean": 7.5,
        "occupancy_ratio_count": 4, "occupancy_ratio_min": 0.5, "occupancy_ratio_max": 0.5,
        "occupancy_ratio_mean": 0.5,
    }  # fmt: skip
    both = only_early | {
        "event_count": 5, "vehicle_count_count": 4, "vehicle_count_min": 1, "vehicle_count_mean": 4.0,
        "avg_speed_kmh_count": 4, "avg_speed_kmh_min": 1.5, "avg_speed_kmh_mean": 6.0, "occupancy_ratio_count": 5,
    }  # fmt: skip
    only_later = {name: MINUTE_2[name] for name in only_early}
    rows = [
        *(window(minute, 5, **only_early) for minute in (-4, -3)),
        *(window(minute, 5, **both) for minute in (-2, -1, 0)),
        *(window(minute, 5, **only_later) for minute in (1, 2)),
    ]
    since = START - timedelta(minutes=10)
    assert bronze.differing_windows(declared, table(declared, *rows), since, END) == []
    [found] = bronze.differing_windows(declared, table(declared, *rows[1:]), since, END)
    assert found == "north at 2026-01-01 07:56:00 is missing"


def test_every_distinct_event_is_counted_or_late(bronze: Recomputation) -> None:
    declared = silver_1m(TRAFFIC)
    assert bronze.unaccounted(table(declared, MINUTE_0, MINUTE_2), START, END) == []
    [minute] = bronze.unaccounted(table(declared, MINUTE_0 | {"event_count": 3}, MINUTE_2), START, END)
    assert str(minute) == "minute 2026-01-01T08:00Z has 5 distinct events, but 3 in windows and 1 late"


def test_counts_begin_where_the_scenario_did(bronze: Recomputation) -> None:
    assert bronze.counts({0: 9, 1: 0}) == (8, 8, 1)
    assert bronze.counts({0: 10}) == (8, 8, 0)
    assert bronze.counts({0: 15}) == (3, 3, 0)
    assert bronze.minutes({0: 10}) == {"2026-01-01T08:00Z": 7, "2026-01-01T08:02Z": 1}
    assert bronze.minutes({0: 15}) == {"2026-01-01T08:00Z": 2, "2026-01-01T08:02Z": 1}


def test_doubled_rows_are_rows_but_no_places() -> None:
    rows = pa.Table.from_pylist([*EVENTS, EVENTS[0]], BRONZE)
    with recomputation(Tables(rows, LATE.empty_table(), PLACES.empty_table())) as doubled:
        assert doubled.counts({0: 0}) == (9, 8, 0)
        assert doubled.minutes({0: 0})["2026-01-01T08:00Z"] == 7


def test_the_newest_reading_is_that_of_the_latest_time_then_place(bronze: Recomputation) -> None:
    assert bronze.newest_readings() == {"a": "e15"}
    rows = [event(1, 3.0, 1, sensor="b"), event(2, 3.0, 2, sensor="b"), event(3, 2.0, 3, sensor="b")]
    with recomputation(
        Tables(pa.Table.from_pylist(rows, BRONZE), LATE.empty_table(), PLACES.empty_table())
    ) as other:
        assert other.newest_readings() == {"b": "e2"}
