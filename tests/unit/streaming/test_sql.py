"""Literals that go into SQL."""

from datetime import timedelta

import duckdb
from hypothesis import given
from hypothesis import strategies as st

from streaming import sql

DATABASE = duckdb.connect()


@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_literal_reads_back_as_it_was(text: str) -> None:
    ((read,),) = DATABASE.execute(f"SELECT {sql.literal(text)}").fetchall()
    assert read == text


@given(st.integers(0, 99 * 86_400_000 - 1))
def test_an_interval_is_as_long_as_it_was(milliseconds: int) -> None:
    written = sql.interval(timedelta(milliseconds=milliseconds))
    days, time = written.removeprefix("INTERVAL '").removesuffix("' DAY TO SECOND(3)").split(" ")
    hours, minutes, seconds = time.split(":")
    total = ((int(days) * 24 + int(hours)) * 60 + int(minutes)) * 60 + float(seconds)
    assert round(total * 1000) == milliseconds
