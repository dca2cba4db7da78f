"""A day that has far more or fewer rows than those around it is told."""

from datetime import date, timedelta
from statistics import median

from hypothesis import given
from hypothesis import strategies as st
from iceberg_on_disk import START, arrow_rows, plausible_row
from pyiceberg.catalog import Catalog

from contracts import family, gold_hourly
from lakehouse_assets.gold.volume import odd_days, volume_result

GOLD = gold_hourly(family("traffic"))
FIRST = date(2026, 3, 1)
TODAY = date(2026, 4, 1)


def days_with(*rows: int) -> dict[date, int]:
    return {FIRST + timedelta(days=offset): count for offset, count in enumerate(rows)}


def test_a_day_that_lost_half_its_rows_is_odd_and_so_is_one_that_doubled() -> None:
    rows = days_with(100, 100, 100, 49, 100, 100, 100)
    assert odd_days(rows, list(rows), TODAY) == {date(2026, 3, 4): 100}
    rows = days_with(100, 100, 100, 50, 200, 201, 100)
    assert odd_days(rows, list(rows), TODAY) == {date(2026, 3, 6): 100}
    rows = days_with(100, 100, 0, 100)
    assert odd_days(rows, list(rows), TODAY) == {date(2026, 3, 3): 100}


def test_the_running_day_is_not_judged_and_judges_none() -> None:
    rows = days_with(100, 100, 5)
    today = FIRST + timedelta(days=2)
    assert odd_days(rows, list(rows), today) == {}
    assert odd_days(rows, list(rows), today + timedelta(days=1)) == {today: 100}
    # two days that nobody has anything to hold against
    assert odd_days(days_with(100, 1), [FIRST], TODAY) == {}


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20), st.integers(1, 1000))
def test_only_proportions_count(rows: list[int], factor: int) -> None:
    counts, scaled = days_with(*rows), days_with(*(count * factor for count in rows))
    odd = odd_days(counts, list(counts), TODAY)
    assert odd.keys() == odd_days(scaled, list(scaled), TODAY).keys()
    for day in odd:
        around = [counts.get(day + timedelta(days=offset), 0) for offset in (-3, -2, -1, 1, 2, 3)]
        usual = median(count for count in around if count)
        assert counts[day] * 2 < usual or counts[day] > usual * 2


def test_rows_are_counted_by_day_from_metadata(disk_catalog: Catalog) -> None:
    table = disk_catalog.load_table(GOLD.identifier)
    for offset, count in enumerate((4, 4, 1, 4)):
        start = START + timedelta(days=offset)
        rows = [plausible_row(GOLD, number) | {"window_start": start} for number in range(count)]
        table.append(arrow_rows(disk_catalog, GOLD, rows))
    snapshot = table.current_snapshot()
    assert snapshot is not None
    last = START.date() + timedelta(days=3)
    result = volume_result(table, snapshot, START.date(), last)
    assert not result.passed
    assert result.description == "2024-03-03 has 1 rows, its neighbours 4"
    assert result.metadata["rows_by_day"].value == {
        "2024-03-01": 4, "2024-03-02": 4, "2024-03-03": 1, "2024-03-04": 4,
    }  # fmt: skip
    assert volume_result(table, snapshot, last, last).passed
