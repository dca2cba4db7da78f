"""Literals that go into SQL, and the conditions of a job that takes up where another ended; DuckDB reads them."""

from datetime import UTC, datetime, timedelta

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import Family, families, family, silver_1m
from streaming import sql
from streaming.resume import Resume

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


offsets = st.dictionaries(st.integers(0, 11), st.integers(0, 10**12), max_size=6)


@given(written=offsets, partition=st.integers(0, 12), offset=st.integers(0, 10**12))
def test_a_resumed_job_writes_only_what_is_beyond_the_tables(
    written: dict[int, int], partition: int, offset: int
) -> None:
    condition = Resume(read_from={}, written_up_to=written, windows_up_to={}).unwritten_events().replace("`", "")
    ((passes,),) = DATABASE.execute(
        f"SELECT {condition} FROM (SELECT {partition} AS kafka_partition, {offset} AS kafka_offset)"
    ).fetchall()
    assert passes == (offset >= written.get(partition, 0))


@given(
    end=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    seconds=st.integers(-3, 3),
)
def test_a_resumed_job_writes_only_windows_that_end_later(end: datetime, seconds: int) -> None:
    end = end.replace(microsecond=0)
    table = silver_1m(family("traffic"))
    resume = Resume(read_from={}, written_up_to={}, windows_up_to={table.identifier: end})
    window_end = (end + timedelta(seconds=seconds)).replace(tzinfo=None)
    ((passes,),) = DATABASE.execute(
        f"SELECT {resume.unwritten_windows(table)} FROM (SELECT TIMESTAMP '{window_end}' AS window_end)"
    ).fetchall()
    assert passes == (seconds > 0)


def test_a_resumed_job_reads_every_partition_from_its_position() -> None:
    options = Resume(read_from={1: 20, 0: 7}, written_up_to={}, windows_up_to={}).startup_options()
    assert options["scan.startup.specific-offsets"] == "partition:0,offset:7;partition:1,offset:20"


@pytest.mark.parametrize("member", families(), ids=lambda member: member.name)
def test_without_positions_a_job_begins_at_the_first_offset(member: Family) -> None:
    source = sql.create_source(member, bootstrap_servers="localhost:1", idle_timeout_s=1)
    assert "'scan.startup.mode' = 'earliest-offset'" in source
    assert "specific-offsets" not in source
