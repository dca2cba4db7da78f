"""Wall-clock times, held against zoneinfo and against DuckDB's ICU."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.replay.localtime import to_instants

EPOCH = datetime(1970, 1, 1)
MICROSECOND = timedelta(microseconds=1)
# Lord Howe shifts by half an hour, St. John's changed at one minute past midnight until 2011
ZONES = ["Europe/Paris", "America/Chicago", "Australia/Lord_Howe", "America/St_Johns", "Asia/Kathmandu", "UTC"]

wall_clocks = st.datetimes(min_value=datetime(1975, 1, 1), max_value=datetime(2037, 1, 1))
near_changes = st.builds(
    lambda day, minutes: day + timedelta(minutes=minutes),
    st.sampled_from(
        [
            datetime(2007, 3, 25),
            datetime(2007, 10, 28),
            datetime(2013, 3, 10),
            datetime(2013, 11, 3),
            datetime(2010, 11, 7),
            datetime(2010, 3, 14),
            datetime(2024, 4, 7),
            datetime(2024, 10, 6),
        ]
    ),
    st.integers(-120, 300),
)


def micros(moment: datetime) -> int:
    return (moment.replace(tzinfo=None) - EPOCH) // MICROSECOND


@given(st.lists(wall_clocks | near_changes, min_size=1, max_size=20), st.sampled_from(ZONES), st.booleans())
def test_instants_are_those_of_zoneinfo(moments: list[datetime], name: str, earliest: bool) -> None:
    zone = ZoneInfo(name)
    result = to_instants(np.array([micros(moment) for moment in moments]), zone, earliest=earliest)
    for index, moment in enumerate(moments):
        first, second = (moment.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        exists = first.astimezone(zone).replace(tzinfo=None) == moment
        assert result.nonexistent[index] == (not exists)
        assert result.ambiguous[index] == (exists and first != second)
        expected = second if exists and not earliest else first
        assert result.times[index] == micros(expected)


@pytest.mark.parametrize("name", ZONES)
def test_latest_and_shift_are_what_duckdb_does(name: str) -> None:
    local = [
        datetime(year, 1, 1) + timedelta(minutes=30 * step) for year in (2007, 2013) for step in range(17_520)
    ]
    result = to_instants(np.array([micros(moment) for moment in local]), ZoneInfo(name), earliest=False)
    (different,) = duckdb.execute(
        """
        SELECT count(*)
        FROM (SELECT unnest(?) AS local, unnest(?) AS instant)
        WHERE epoch_us(make_timestamp(local) AT TIME ZONE ?) <> instant
        """,
        [[micros(moment) for moment in local], result.times.tolist(), name],
    ).fetchone() or (None,)
    assert different == 0
