"""Windows on disk that equal their events, and windows that lost one, gained one or hold another value."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from statistics import fmean
from typing import Any

import dagster as dg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from iceberg_on_disk import START, arrow_rows, open_disk_catalog, plausible_row
from pyiceberg.catalog import Catalog

from contracts import Table, bronze_events, families, family, late_events, silver_1m, silver_5m
from lakehouse_assets.streaming import reconcile as module
from lakehouse_assets.streaming.reconcile import SETTLING, SPAN, reconcile
from lakehouse_assets.streaming.reconciliation_check import reconciliation_checks, reconciliation_result

TRAFFIC = family("traffic")
BRONZE, MINUTES, ZONES = bronze_events(TRAFFIC), silver_1m(TRAFFIC), silver_5m(TRAFFIC)
MEASURES = [measure.name for measure in TRAFFIC.measures]
MINUTE = timedelta(minutes=1)


def event(offset: int, seconds: float, value: int | None, *, sensor: str = "a", id_: str = "") -> dict[str, Any]:
    return plausible_row(BRONZE, offset) | {
        "event_id": id_ or f"e{offset}",
        "sensor_id": sensor,
        "event_time": START + timedelta(seconds=seconds),
        "zone": "north",
        "kafka_partition": 0,
        "kafka_offset": offset,
        **dict.fromkeys(MEASURES, value),
    }


EVENTS = [
    event(1, 0, 1),
    event(2, 30, 0),
    event(3, 30, 0, id_="e2"),  # sent twice
    event(4, 20, 1, sensor="b"),
    event(5, 10, None),
    event(6, 100, 1),
    event(7, 5, 1),  # late
    event(8, 130, 0, sensor="b"),
]
LATE_OFFSET = 7


def window(subject: str, start: datetime, length: timedelta, events: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The row that the events make, in plain Python."""
    counted = [e for e in events if e["event_id"] != "e7" and e["kafka_offset"] != 3]
    row = {
        subject: counted[0][subject],
        "window_start": start,
        "window_end": start + length,
        "zone": "north",
        "event_count": len(counted),
    }
    for name in MEASURES:
        values = [e[name] for e in counted if e[name] is not None]
        row |= {
            f"{name}_count": len(values),
            f"{name}_min": min(values, default=None),
            f"{name}_max": max(values, default=None),
            f"{name}_mean": fmean(values) if values else None,
            f"{name}_last": values[-1] if values else None,
        }
    return row


def minute_windows() -> list[dict[str, Any]]:
    grouped: dict[tuple[str, datetime], list[dict[str, Any]]] = {}
    for e in EVENTS:
        grouped.setdefault((e["sensor_id"], e["event_time"].replace(second=0)), []).append(e)
    return [window("sensor_id", start, MINUTE, events) for (_, start), events in grouped.items()]


def zone_windows() -> list[dict[str, Any]]:
    """Those that are within the minutes 0 to 7, five minutes each."""
    starts = [START + number * MINUTE for number in range(-4, 3)]
    found = []
    for start in starts:
        within = [e for e in EVENTS if start <= e["event_time"] < start + 5 * MINUTE]
        found.append(window("zone", start, 5 * MINUTE, within))
    return found


def write(catalog: Catalog, declared: Table, rows: list[dict[str, Any]]) -> None:
    names = {column.name for column in declared.columns}
    known = [{name: value for name, value in row.items() if name in names} for row in rows]
    catalog.load_table(declared.identifier).append(arrow_rows(catalog, declared, known))


def stored(
    catalog: Catalog, events: list[dict[str, Any]], windows: list[dict[str, Any]], of: Table = MINUTES
) -> None:
    late = late_events(families())
    [too_late] = [e for e in EVENTS if e["kafka_offset"] == LATE_OFFSET]
    write(catalog, late, [plausible_row(late, 1) | too_late | {"family": "traffic"}])
    # the place of another family's late event is not this one's
    write(catalog, late, [plausible_row(late, 2) | EVENTS[0] | {"family": "energy"}])
    write(catalog, BRONZE, events)
    write(catalog, of, windows)


def judged(catalog: Catalog, declared: Table = MINUTES) -> dg.AssetCheckResult:
    return reconciliation_result(declared, reconcile(catalog, TRAFFIC, declared, settled()))


def settled() -> datetime:
    return datetime.now(UTC) + 3 * SETTLING


def keys(result: dg.AssetCheckResult) -> list[dict[str, Any]]:
    expectations = result.metadata["expectations"]
    assert isinstance(expectations, dg.TableMetadataValue)
    [record] = expectations.records
    assert record.data["passed"] == result.passed
    found = json.loads(str(record.data["failing_keys"]))
    assert isinstance(found, list)
    return found


def test_windows_that_equal_their_events_pass(disk_catalog: Catalog) -> None:
    stored(disk_catalog, EVENTS, minute_windows())
    result = judged(disk_catalog)
    assert result.passed, result.description
    assert keys(result) == []
    assert result.metadata["rows"].value == 4
    assert result.metadata["events"].value == len(EVENTS)
    assert result.metadata["hours"].value == SPAN / timedelta(hours=1)
    assert result.metadata["until"].value == (START + 3 * MINUTE).timestamp()


def test_sliding_windows_that_equal_their_events_pass(disk_catalog: Catalog) -> None:
    stored(disk_catalog, EVENTS, zone_windows(), ZONES)
    result = judged(disk_catalog, ZONES)
    assert result.passed, result.description
    assert result.metadata["rows"].value == 7


def test_an_event_that_bronze_lost_names_its_window(disk_catalog: Catalog) -> None:
    stored(disk_catalog, [e for e in EVENTS if e["kafka_offset"] != 6], minute_windows())
    result = judged(disk_catalog)
    assert not result.passed
    assert result.severity == dg.AssetCheckSeverity.ERROR
    assert keys(result) == [
        {"sensor_id": "a", "window_start": "2024-03-01 00:01:00", "window": "should not be there"}
    ]
    assert result.description is not None
    assert "1 of 4 windows" in result.description
    assert "a at 2024-03-01 00:01:00 should not be there" in result.description


def test_an_altered_event_names_its_window_with_both_values(disk_catalog: Catalog) -> None:
    altered = EVENTS[5] | {"vehicle_count": 7}
    stored(disk_catalog, [e if e["kafka_offset"] != 6 else altered for e in EVENTS], minute_windows())
    both = {"stored": "1", "recomputed": "7"}
    assert keys(judged(disk_catalog)) == [
        {
            "sensor_id": "a",
            "window_start": "2024-03-01 00:01:00",
            "vehicle_count_min": both,
            "vehicle_count_max": both,
            "vehicle_count_mean": {"stored": "1.0", "recomputed": "7.0"},
            "vehicle_count_last": both,
        }
    ]


def test_a_late_event_that_was_counted_is_told(disk_catalog: Catalog) -> None:
    windows = minute_windows()
    windows[0]["event_count"] += 1
    stored(disk_catalog, EVENTS, windows)
    assert keys(judged(disk_catalog)) == [
        {
            "sensor_id": "a",
            "window_start": "2024-03-01 00:00:00",
            "event_count": {"stored": "4", "recomputed": "3"},
        }
    ]


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lost=st.sets(st.sampled_from([1, 2, 4, 5, 6, 8])))
def test_every_lost_event_is_told(lost: set[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    catalog = open_disk_catalog(tmp_path_factory.mktemp("lost"))
    # with an event its copy
    gone = lost | ({3} if 2 in lost else set())
    stored(catalog, [e for e in EVENTS if e["kafka_offset"] not in gone], minute_windows())
    hit = {(e["sensor_id"], f"{e['event_time']:%H:%M}") for e in EVENTS if e["kafka_offset"] in lost}
    found = {(key["sensor_id"], key["window_start"][11:16]) for key in keys(judged(catalog))}
    assert found == hit


def test_what_was_committed_just_now_is_not_judged(disk_catalog: Catalog) -> None:
    """The windows of a checkpoint may be there before its events are."""
    assert reconcile(disk_catalog, TRAFFIC, MINUTES, settled()) is None
    stored(disk_catalog, EVENTS, minute_windows())
    assert reconcile(disk_catalog, TRAFFIC, MINUTES, datetime.now(UTC)) is None
    assert reconciliation_result(MINUTES, None).passed


def test_the_newest_minutes_are_compared_where_there_are_too_many_events(
    disk_catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = minute_windows()
    windows[0]["event_count"] = 99  # wrong, but of the first minute
    stored(disk_catalog, EVENTS, windows)
    for most, minutes, compared in ((2, 2, 2), (1, 1, 1), (0, 1, 1)):
        monkeypatch.setattr(module, "MAX_EVENTS", most)
        found = reconcile(disk_catalog, TRAFFIC, MINUTES, settled())
        assert found is not None
        assert found.until - found.since == minutes * MINUTE
        assert (found.windows, found.events, found.differences) == (compared, compared, ())
    monkeypatch.setattr(module, "MAX_EVENTS", 1_000)
    assert not judged(disk_catalog).passed


def test_at_most_twenty_windows_are_listed(disk_catalog: Catalog) -> None:
    events = [event(number, 60 * number, 1) for number in range(10, 40)]
    write(disk_catalog, BRONZE, [event(100, -86_400, 1)])
    write(disk_catalog, MINUTES, [window("sensor_id", e["event_time"], MINUTE, [e]) for e in events])
    result = judged(disk_catalog)
    assert len(keys(result)) == 20
    assert result.description is not None
    assert result.description.startswith("30 of 30 windows")


def test_each_table_of_windows_has_the_check() -> None:
    checked = {key.asset_key.to_user_string() for check in reconciliation_checks() for key in check.check_keys}
    assert checked == {f"silver/{member.name}_{length}" for member in families() for length in ("1m", "5m")}
