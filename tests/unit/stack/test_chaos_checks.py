"""The checks on real Iceberg tables on disk: silent where all holds, and each violation is seen."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog

from contracts import Table, all_tables, bronze_events, dead_letters, families, family, late_events
from contracts import silver_1m as windows_1m
from contracts import silver_5m as windows_5m
from resources.catalog import ensure_tables
from stack.chaos.checks import Findings, arrived, check
from stack.chaos.load import Published

TRAFFIC = family("traffic")
START = datetime(2026, 1, 1, 8, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
MINUTES = 3
Row = dict[str, Any]

BRONZE, LATE, DEAD = bronze_events(TRAFFIC), late_events(families()), dead_letters(families())
ONE, FIVE = windows_1m(TRAFFIC), windows_5m(TRAFFIC)


def at(offset: int, seconds: float, id_: str = "") -> Row:
    return {
        "event_id": id_ or f"e{offset}", "sensor_id": "a", "event_time": START + timedelta(seconds=seconds),
        "zone": "north", "vehicle_count": offset,
        "kafka_partition": 0, "kafka_offset": offset, "kafka_time": START,
    }  # fmt: skip


ON_TIME = [at(5, 1), at(6, 30), at(7, 61), at(9, 90), at(10, 170)]
SECOND_COPY = at(8, 61, "e7")
LATE_EVENT = at(11, 2)
OTHER_SCENARIO = at(4, -200)


def aggregates(events: list[Row], *, last: bool) -> Row:
    values = [event["vehicle_count"] for event in events]
    row: Row = {
        "zone": "north", "event_count": len(events), "vehicle_count_count": len(events),
        "vehicle_count_min": min(values), "vehicle_count_max": max(values), "vehicle_count_mean": fmean(values),
        "avg_speed_kmh_count": 0, "occupancy_ratio_count": 0,
    }  # fmt: skip
    return row | ({"vehicle_count_last": values[-1], "sensor_id": "a"} if last else {})


def windows(events: list[Row], minutes: int, *, last: bool) -> list[Row]:
    length = timedelta(minutes=minutes)
    found = []
    for number in range(-10, 10):
        start = START + number * MINUTE
        inside = [event for event in events if start <= event["event_time"] < start + length]
        if inside:
            found.append({"window_start": start, "window_end": start + length, **aggregates(inside, last=last)})
    return found


class City:
    """The tables as they should be; tests spoil them before they are written."""

    def __init__(self, folder: Path) -> None:
        self.catalog: Catalog = SqlCatalog(
            "disk", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}"
        )
        ensure_tables(self.catalog, all_tables(), commit_retries=10)
        counted = [OTHER_SCENARIO, *ON_TIME]
        self.rows: dict[str, list[Row]] = {
            BRONZE.identifier: [OTHER_SCENARIO, *ON_TIME, SECOND_COPY, LATE_EVENT],
            LATE.identifier: [LATE_EVENT | {"family": "traffic", "watermark": START + MINUTE, "late_by_s": 58}],
            DEAD.identifier: [
                {
                    "family": "traffic", "topic": TRAFFIC.topic, "kafka_partition": 0, "kafka_offset": 12,
                    "kafka_time": START, "error_class": "not_json", "error_message": "text", "collected_at": START,
                },
            ],
            ONE.identifier: windows(counted, 1, last=True),
            FIVE.identifier: windows(counted, 5, last=False),
        }  # fmt: skip
        self.published = Published(
            TRAFFIC, {0: 5}, acknowledged=8, invalid=1, duplicates=1,
            since=START - 10 * MINUTE, until=START + 10 * MINUTE, closed_until=START + MINUTES * MINUTE,
        )  # fmt: skip
        self.published.minutes.update({"2026-01-01T08:00Z": 3, "2026-01-01T08:01Z": 3, "2026-01-01T08:02Z": 1})

    def check(self) -> Findings:
        for declared in (BRONZE, LATE, DEAD, ONE, FIVE):
            self._write(declared)
        return check(self.catalog, self.published)

    def _write(self, declared: Table) -> None:
        table = self.catalog.load_table(declared.identifier)
        table.append(pa.Table.from_pylist(self.rows[declared.identifier], table.schema().as_arrow()))


@pytest.fixture
def city(tmp_path: Path) -> City:
    return City(tmp_path)


def test_all_holds(city: City) -> None:
    found = city.check()
    assert found.problems == []
    assert (found.acknowledged, found.rows, found.dead_letters) == (8, 7, 1)
    assert (found.missing, found.doubled, found.late, found.duplicates) == (0, 0, 1, 1)
    assert found.windows == len(city.rows[ONE.identifier]) + len(city.rows[FIVE.identifier])
    now = arrived(city.catalog, city.published)
    assert (now.rows, now.distinct, now.dead_letters, now.missing) == (7, 7, 1, 0)


def lose_a_row(city: City) -> None:
    city.rows[BRONZE.identifier].remove(SECOND_COPY)


def double_a_row(city: City) -> None:
    city.rows[BRONZE.identifier].append(ON_TIME[0])


def lose_a_dead_letter(city: City) -> None:
    city.rows[DEAD.identifier][0]["topic"] = "sensors.weather"


def move_a_row(city: City) -> None:
    city.published.minutes.update({"2026-01-01T08:02Z": 1, "2026-01-01T08:01Z": -1})


def lose_a_late_event(city: City) -> None:
    city.rows[LATE.identifier][0]["family"] = "weather"


def count_a_copy(city: City) -> None:
    row = next(row for row in city.rows[ONE.identifier] if row["window_start"] == START + MINUTE)
    row["event_count"] += 1


def lose_a_sliding_window(city: City) -> None:
    city.rows[FIVE.identifier].pop(len(city.rows[FIVE.identifier]) // 2)


def keep_windows_open(city: City) -> None:
    city.rows[ONE.identifier].pop()


@pytest.mark.parametrize(
    ("spoil", "seen"),
    [
        (lose_a_row, "1 acknowledged records are in no table"),
        (double_a_row, "1 rows of bronze stand twice"),
        (lose_a_dead_letter, "0 dead letters, 1 records are no valid event"),
        (move_a_row, "2 minutes of bronze differ from the ledger"),
        (lose_a_late_event, "has 3 distinct events, but 2 in windows and 0 late"),
        (count_a_copy, "1 windows of silver.traffic_1m differ from their recomputation: a at 2026-01-01 08:01:00"),
        (lose_a_sliding_window, "1 windows of silver.traffic_5m differ from their recomputation: north at"),
        (keep_windows_open, "silver.traffic_1m is closed up to 08:02, not 08:03"),
    ],
)
def test_each_violation_is_seen(city: City, spoil: Callable[[City], None], seen: str) -> None:
    spoil(city)
    problems = city.check().problems
    assert any(seen in problem for problem in problems), problems
