"""Backfills: every day once, in order, and only of tables that a batch computes."""

from datetime import UTC, date, datetime, timedelta

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from contracts import BATCH_WRITERS, ContractError, all_tables
from stack.backfill import _batch_table, _batch_upstream, _day, _ranges
from stack.errors import StackError

days = st.dates(date(2000, 1, 1), date(2030, 1, 1))


@given(first=days, length=st.integers(0, 400), per_run=st.integers(1, 60))
def test_the_ranges_are_the_days_each_once(first: date, length: int, per_run: int) -> None:
    last = first + timedelta(days=length)
    ranges = list(_ranges(first, last, per_run))
    covered = [begin + timedelta(days=n) for begin, end in ranges for n in range((end - begin).days + 1)]
    assert covered == [first + timedelta(days=n) for n in range(length + 1)]
    assert all((end - begin).days < per_run for begin, end in ranges)
    assert len(ranges) == -(-(length + 1) // per_run)


def test_days_have_names() -> None:
    today = datetime.now(UTC).date()
    assert _day("today") - _day("yesterday") == timedelta(days=1)
    assert today - _day("today") <= timedelta(days=1)
    assert _day("2026-02-28") == date(2026, 2, 28)
    with pytest.raises(typer.BadParameter, match="2026-02-30"):
        _day("2026-02-30")


@pytest.mark.parametrize("declared", all_tables(), ids=lambda declared: declared.identifier)
def test_only_batch_tables_are_computed_again(declared) -> None:
    asset = f"{declared.layer}/{declared.name}"
    if declared.writer in BATCH_WRITERS:
        assert _batch_table(asset) == declared
    else:
        with pytest.raises(StackError, match="gold/traffic_hourly"):
            _batch_table(asset)


def test_what_no_contract_declares_is_an_error() -> None:
    with pytest.raises(ContractError):
        _batch_table("gold/nothing")


def test_what_a_table_is_derived_from_is_computed_before_it() -> None:
    above = [each.identifier for each in _batch_upstream(_batch_table("gold/city_hourly"))]
    assert above == ["gold.energy_hourly", "gold.traffic_hourly", "gold.weather_hourly"]
    assert _batch_upstream(_batch_table("gold/traffic_daily")) == []
