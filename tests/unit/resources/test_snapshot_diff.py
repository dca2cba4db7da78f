"""Two snapshots are told apart by their metadata; every figure is held against what the test itself wrote."""

import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from urllib.parse import urlparse

from hourly_on_disk import FIRST_DAY, HourlyTable
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.schema import Schema
from pyiceberg.types import DoubleType, FloatType, IntegerType, LongType, NestedField, StringType

from resources.snapshot_diff import Change, ColumnChange, column_changes, diff


@dataclass(frozen=True)
class Kept:
    """What a column is."""

    name: str
    type: str
    required: bool


TYPES = {
    "int": IntegerType(), "long": LongType(), "float": FloatType(), "double": DoubleType(), "string": StringType()
}  # fmt: skip
WIDER = {("int", "long"), ("float", "double")}
columns = st.builds(Kept, st.sampled_from(["a", "b", "c"]), st.sampled_from(sorted(TYPES)), st.booleans())


@st.composite
def layouts(draw: st.DrawFn) -> dict[int, Kept]:
    found = draw(st.dictionaries(st.integers(1, 5), columns, max_size=4))
    return {id_: Kept(f"{kept.name}{id_ % 2}{id_}", kept.type, kept.required) for id_, kept in found.items()}


def schema(layout: dict[int, Kept]) -> Schema:
    return Schema(*(NestedField(id_, kept.name, TYPES[kept.type], kept.required) for id_, kept in layout.items()))


@given(before=layouts(), after=layouts())
def test_the_changes_lead_from_one_schema_to_the_other(before: dict[int, Kept], after: dict[int, Kept]) -> None:
    changes = column_changes(schema(before), schema(after))
    reached = dict(before)
    for change in changes:
        id_, was = change.field_id, reached.get(change.field_id)
        match change.change:
            case Change.ADDED:
                assert was is None
                assert change.after is not None
                reached[id_] = Kept(change.column, change.after, after[id_].required)
            case Change.DROPPED:
                assert was is not None
                assert (change.column, change.before) == (was.name, was.type)
                del reached[id_]
            case Change.RENAMED:
                assert was is not None
                assert change.before == was.name
                reached[id_] = Kept(change.after or "", was.type, was.required)
            case Change.WIDENED | Change.NARROWED:
                assert was is not None
                assert change.before == was.type
                reached[id_] = Kept(was.name, change.after or "", was.required)
                assert (change.change is Change.WIDENED) == ((was.type, change.after) in WIDER)
            case Change.MADE_OPTIONAL | Change.MADE_REQUIRED:
                assert was is not None
                reached[id_] = Kept(was.name, was.type, change.change is Change.MADE_REQUIRED)
                assert reached[id_] != was
    assert reached == after
    assert (changes == []) == (before == after)


def test_columns_of_a_table_are_told_by_their_id(hourly: HourlyTable) -> None:
    first = hourly.append("a")
    with hourly.load().update_schema() as update:
        update.rename_column("zone", "area").add_column("quality", IntegerType()).make_column_optional(
            "window_end"
        )
    second = hourly.append("b")
    with hourly.load().update_schema() as update:
        update.update_column("quality", LongType()).delete_column("area").add_column("zone", StringType())
    third = hourly.append("c")
    table = hourly.load()
    assert diff(table, first, second).columns == [
        ColumnChange(field_id=3, column="window_end", change=Change.MADE_OPTIONAL, before=TIME, after=TIME),
        ColumnChange(field_id=4, column="area", change=Change.RENAMED, before="zone", after="area"),
        ColumnChange(field_id=6, column="quality", change=Change.ADDED, after="int"),
    ]
    assert diff(table, second, third).columns == [
        ColumnChange(field_id=4, column="area", change=Change.DROPPED, before="string"),
        ColumnChange(field_id=6, column="quality", change=Change.WIDENED, before="int", after="long"),
        ColumnChange(field_id=7, column="zone", change=Change.ADDED, after="string"),
    ]
    assert diff(table, second, second).columns == []


TIME = "timestamptz"


def day(number: int) -> date:
    return (FIRST_DAY + timedelta(days=number)).date()


def test_files_rows_and_bytes_of_each_day_without_reading_data(hourly: HourlyTable) -> None:
    hourly.append("x", day=5)
    first = hourly.append("a", "b", day=0)
    old = hourly.data_files()
    hourly.append("c", day=0)
    second = hourly.append("d", "e", "f", day=1)
    new = hourly.data_files()
    for path in new:
        Path(urlparse(path).path).unlink()

    found = diff(hourly.load(), first, second)
    assert (found.start, found.to) == (str(first.snapshot_id), str(second.snapshot_id))
    assert (found.before.rows, found.after.rows) == (3, 7)
    assert (found.before.bytes, found.after.bytes) == (sum(old.values()), sum(new.values()))
    assert {file.path: file.bytes for file in found.files_added} == {p: new[p] for p in new.keys() - old.keys()}
    assert {(file.day, file.rows) for file in found.files_added} == {(day(0), 1), (day(1), 3)}
    assert found.files_removed == []
    # the day that nothing happened to is left out
    assert [(d.day, d.files_added, d.files_removed, d.before.rows, d.after.rows) for d in found.days] == [
        (day(0), 1, 0, 2, 3),
        (day(1), 1, 0, 0, 3),
    ]
    assert sum(d.after.bytes - d.before.bytes for d in found.days) == sum(new.values()) - sum(old.values())
    assert not found.only_rewritten


def test_compaction_is_told_from_a_change_that_happens_to_keep_the_count(hourly: HourlyTable) -> None:
    hourly.append("a")
    second = hourly.append("b")
    joined = hourly.rewrite()
    table = hourly.load()
    for start, to in [(second, joined), (joined, second)]:
        found = diff(table, start, to)
        assert found.only_rewritten
        assert found.before.rows == found.after.rows == 2
        assert {len(found.files_added), len(found.files_removed)} == {1, 2}
    hourly.load().overwrite(hourly.rows(["c", "d"]))
    found = diff(hourly.load(), joined, hourly.head())
    assert found.before.rows == found.after.rows == 2
    assert not found.only_rewritten


def test_neither_nothing_nor_more_rows_is_compaction(hourly: HourlyTable) -> None:
    first = hourly.append("a")
    second = hourly.append("b")
    hourly.rewrite()
    nothing = hourly.append()  # a checkpoint without rows
    assert diff(hourly.load(), second, nothing).only_rewritten
    assert not diff(hourly.load(), first, nothing).only_rewritten
    assert not diff(hourly.load(), first, first).only_rewritten
    more = hourly.append("c")
    assert not diff(hourly.load(), second, more).only_rewritten


def test_snapshots_of_two_branches_are_compared(hourly: HourlyTable) -> None:
    first = hourly.append("a")
    hourly.load().manage_snapshots().create_branch(first.snapshot_id, "aside").commit()
    aside, main = hourly.append("b", branch="aside"), hourly.append("c", "d")
    found = diff(hourly.load(), aside, main)
    assert [(len(found.files_added), len(found.files_removed))] == [(1, 1)]
    assert [(d.before.rows, d.after.rows) for d in found.days] == [(2, 3)]


def test_a_file_that_was_committed_twice_counts_twice(hourly: HourlyTable) -> None:
    first = hourly.append("a", "b")
    [task] = hourly.load().scan().plan_files()
    with hourly.load().transaction() as transaction, transaction.update_snapshot().fast_append() as append:
        append.append_data_file(task.file)
    found = diff(hourly.load(), first, hourly.head())
    assert [file.path for file in found.files_added] == [task.file.file_path]
    assert (found.before.rows, found.after.rows) == (2, 4)


commits = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3)), min_size=2, max_size=5)


@settings(max_examples=6, deadline=None)
@given(commits=commits, data=st.data())
def test_any_two_snapshots(commits: list[tuple[int, int]], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        hourly = HourlyTable(Path(folder))
        written = [hourly.append(*"abc"[:count], day=number) for number, count in commits]
        one, other = (data.draw(st.integers(0, len(commits) - 1)) for _ in range(2))

        def rows(until: int) -> Counter[date]:
            total: Counter[date] = Counter()
            for number, count in commits[: until + 1]:
                total[day(number)] += count
            return total

        found = diff(hourly.load(), written[one], written[other])
        before, after = rows(one), rows(other)
        assert (found.before.rows, found.after.rows) == (before.total(), after.total())
        assert {d.day: (d.before.rows, d.after.rows) for d in found.days} == {
            number: (before[number], after[number])
            for number in before.keys() | after.keys()
            if before[number] != after[number]
        }
        assert len(found.files_added) == max(0, other - one)
        assert len(found.files_removed) == max(0, one - other)
