"""Literals that go into SQL, and the conditions of a job that takes up where another ended; DuckDB reads them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import Family, bronze_events, families, family, late_events, silver_1m, silver_5m
from contracts.tables import KAFKA_COLUMNS, wire_columns
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


FIRST = datetime(2026, 1, 1)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(
    lambda moment: moment.replace(microsecond=0)
)


def resume_after(end: datetime, earlier_s: int) -> Resume:
    """Of a job whose windows of one length had one that ended before the newest of the other length."""
    member = family("traffic")
    ends = {silver_1m(member).identifier: end - timedelta(seconds=earlier_s), silver_5m(member).identifier: end}
    return Resume(read_from={}, written_up_to={0: 100}, windows_up_to=ends)


@given(end=moments, earlier_s=st.integers(0, 300), seconds=st.integers(-3, 3))
def test_a_resumed_job_writes_only_windows_that_end_later(end: datetime, earlier_s: int, seconds: int) -> None:
    window_end = (end + timedelta(seconds=seconds)).replace(tzinfo=None)
    condition = resume_after(end, earlier_s).unwritten_windows()
    ((passes,),) = DATABASE.execute(
        f"SELECT {condition} FROM (SELECT TIMESTAMP '{window_end}' AS window_end)"
    ).fetchall()
    assert passes == (seconds > 0)


def of_events(resume: Resume, condition: str, events: list[tuple[int, datetime]]) -> list[object]:
    """What DuckDB finds ``condition`` to be for events of partition 0, each an offset and a time."""
    values = ", ".join(f"({offset}, TIMESTAMP '{time.replace(tzinfo=None)}')" for offset, time in events)
    with duckdb.connect() as database:
        known = list(resume.late.get(0, [])) or "NULL"
        database.execute(f"CREATE MACRO WAS_LATE(part, place) AS part = 0 AND place IN ({str(known).strip('[]')})")
        found = database.execute(
            f"SELECT {condition.replace('`', '').replace('TIMESTAMP_LTZ(6)', 'TIMESTAMP')} "
            f"FROM (SELECT 0 AS kafka_partition, * FROM (VALUES {values}) AS v(kafka_offset, row_time)) "
            "ORDER BY kafka_offset"
        ).fetchall()
    return [value for (value,) in found]


@given(
    end=moments,
    earlier_s=st.integers(0, 300),
    seconds=st.lists(st.integers(-3, 3), min_size=6, max_size=6),
    late=st.sets(st.integers(97, 99)),
    behind=st.booleans(),
)
def test_a_resumed_job_calls_late_what_the_old_one_did_and_beyond_it_what_is_behind_or_was_closed(
    end: datetime, earlier_s: int, seconds: list[int], late: set[int], behind: bool
) -> None:
    resume = replace(resume_after(end, earlier_s), late={0: sorted(late)} if late else {})
    times = [end + timedelta(seconds=each) for each in seconds]
    found = of_events(
        resume, resume.is_late("row_time", str(behind).upper()), list(zip(range(97, 103), times, strict=True))
    )
    written = [offset in late for offset in range(97, 100)]
    assert found == [*written, *(behind or time < end for time in times[3:])]


@given(end=moments, earlier_s=st.integers(0, 300), seconds=st.lists(st.integers(-3, 3), min_size=4, max_size=4))
def test_what_was_written_moves_the_watermark_of_a_resumed_job_no_further_than_to_closed_windows(
    end: datetime, earlier_s: int, seconds: list[int]
) -> None:
    resume = resume_after(end, earlier_s)
    times = [(end + timedelta(seconds=each)).replace(tzinfo=None) for each in seconds]
    found = of_events(resume, resume.watermark("`row_time`"), list(zip(range(98, 102), times, strict=True)))
    until = end.replace(tzinfo=None)
    assert found == [time if offset >= 100 or time <= until else None for offset, time in enumerate(times, 98)]


def test_without_closed_windows_nothing_that_was_written_moves_the_watermark() -> None:
    resume = Resume(read_from={}, written_up_to={0: 100}, windows_up_to={}, late={0: [98]})
    events = [(98, FIRST), (99, FIRST), (100, FIRST)]
    assert of_events(resume, resume.watermark("`row_time`"), events) == [None, None, FIRST]
    assert of_events(resume, resume.is_late("row_time", "NULL"), events) == [True, False, None]


def test_late_offsets_are_written_as_the_function_reads_them() -> None:
    resume = Resume(read_from={}, written_up_to={}, windows_up_to={}, late={3: [5], 0: [17, 42]})
    assert resume.late_offsets() == "0:17,42;3:5"


def test_a_resumed_job_reads_every_partition_from_its_position() -> None:
    options = Resume(read_from={1: 20, 0: 7}, written_up_to={}, windows_up_to={}).startup_options()
    assert options["scan.startup.specific-offsets"] == "partition:0,offset:7;partition:1,offset:20"


@pytest.mark.parametrize("member", families(), ids=lambda member: member.name)
def test_without_positions_a_job_begins_at_the_first_offset(member: Family) -> None:
    source = sql.create_source(member, bootstrap_servers="localhost:1", idle_timeout_s=1)
    assert "'scan.startup.mode' = 'earliest-offset'" in source
    assert "specific-offsets" not in source


def test_an_event_is_read_under_the_names_that_its_columns_had_formerly() -> None:
    traffic = family("traffic")
    speed = next(measure for measure in traffic.measures if measure.name == "avg_speed_kmh")
    renamed = replace(speed, name="speed_kmh", formerly=("avg_speed_kmh", "mean_speed_kmh"))
    member = replace(traffic, measures=(*(m for m in traffic.measures if m is not speed), renamed), rules=())
    source = sql.create_source(member, bootstrap_servers="localhost:1", idle_timeout_s=1)
    carried = ("speed_kmh", "mean_speed_kmh", "avg_speed_kmh")
    assert all(f"  `{name}` DOUBLE,\n" in source for name in carried)
    with duckdb.connect() as database:
        names = {column.name for column in (*wire_columns(member), *KAFKA_COLUMNS)} - set(carried)
        others = ", ".join(f"'x' AS {name}" for name in (*names, sql.ROW_TIME))
        database.execute(
            f"""CREATE TABLE {sql.SOURCE_TABLE} AS SELECT *, {others} FROM (
            VALUES (1, NULL, NULL, 10.0), (2, NULL, 20.0, NULL), (3, 30.0, 20.0, 10.0), (4, 0.0, NULL, 10.0),
                   (5, NULL, NULL, NULL), (6, NULL, 20.0, 10.0)) AS events(number, {", ".join(carried)})"""
        )
        view = sql.create_decoded_view(member).replace("`", "").replace("SELECT ", "SELECT number, ")
        database.execute(view)
        read = database.execute(f"SELECT speed_kmh FROM {sql.DECODED_VIEW} ORDER BY number").fetchall()
        columns = database.execute(f"DESCRIBE {sql.DECODED_VIEW}").fetchall()
    assert read == [(10,), (20,), (30,), (0,), (None,), (20,)]
    assert {name for name, *_ in columns} == names | {"number", "speed_kmh", sql.ROW_TIME}


@pytest.mark.parametrize("member", families(), ids=lambda member: member.name)
def test_tables_are_written_by_name(member: Family) -> None:
    inserts = {
        bronze_events(member): sql.insert_bronze(member),
        silver_1m(member): sql.insert_tumbling(member),
        silver_5m(member): sql.insert_sliding(member),
        late_events((member,)): sql.insert_late(member),
    }
    for table, insert in inserts.items():
        names = insert.partition("(")[2].partition(")")[0].replace("`", "").split(", ")
        assert insert.startswith(f"INSERT INTO {sql.CATALOG}.`{table.layer}`.`{table.name}` (")
        assert names == [column.name for column in table.columns]
