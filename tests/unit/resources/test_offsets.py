"""Arithmetic on offsets against plain Python sets, and the files of a real table against what was appended."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.schema import Schema
from pyiceberg.table import Table as IcebergTable
from pyiceberg.types import IntegerType, LongType, NestedField, StringType

from resources.offsets import HistoryExpiredError, added_files, doubled, gaps, live_files, read_offsets

ANY_OFFSETS = st.lists(st.integers(0, 60), max_size=60)


@given(ANY_OFFSETS, st.integers(0, 70))
def test_gaps_are_what_a_set_lacks(offsets: list[int], start: int) -> None:
    found = gaps(np.array(sorted(offsets), np.int64), start)
    lacking = set(range(start, max(offsets, default=-1) + 1)) - set(offsets)
    assert {offset for run in found for offset in run} == lacking
    # as few runs as there can be, in order
    assert all(run for run in found)
    assert all(before.stop < after.start for before, after in pairwise(found))


@given(ANY_OFFSETS)
def test_doubled_are_those_that_stand_more_than_once(offsets: list[int]) -> None:
    found = doubled(np.array(sorted(offsets), np.int64))
    assert found.tolist() == sorted({offset for offset in offsets if offsets.count(offset) > 1})


@given(st.integers(0, 2**62), st.integers(1, 1000))
def test_large_offsets(start: int, length: int) -> None:
    assert gaps(np.array([start, start + length + 1], np.int64), start) == [range(start + 1, start + length + 1)]


@pytest.fixture
def table(tmp_path: Path) -> IcebergTable:
    catalog = SqlCatalog("disk", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}")
    catalog.create_namespace("a")
    schema = Schema(
        NestedField(1, "topic", StringType()),
        NestedField(2, "kafka_partition", IntegerType()),
        NestedField(3, "kafka_offset", LongType()),
    )
    return catalog.create_table("a.b", schema)


def append(table: IcebergTable, *places: tuple[int, int], topic: str = "t") -> int:
    """Append rows with these places; returns the sequence number of the commit."""
    rows: list[dict[str, Any]] = [{"topic": topic, "kafka_partition": p, "kafka_offset": o} for p, o in places]
    table.append(pa.Table.from_pylist(rows, schema=table.schema().as_arrow()))
    return sequence_number(table)


def sequence_number(table: IcebergTable) -> int:
    snapshot = table.current_snapshot()
    assert snapshot is not None
    return snapshot.sequence_number or 0


def offsets(table: IcebergTable, after: int, **options: Any) -> dict[int, list[int]]:
    snapshot = table.current_snapshot()
    assert snapshot is not None
    read = read_offsets(table, added_files(table, after=after, until=snapshot), **options)
    return {partition: found.tolist() for partition, found in read.items()}


def test_each_commit_gives_its_own_files(table: IcebergTable) -> None:
    first = append(table, (0, 1), (1, 0), (0, 0))
    second = append(table, (0, 2))
    assert offsets(table, 0) == {0: [0, 1, 2], 1: [0]}
    assert offsets(table, first) == {0: [2]}
    assert offsets(table, second) == {}
    snapshot = table.current_snapshot()
    assert snapshot is not None
    assert [(file.sequence_number, file.records) for file in added_files(table, after=0, until=snapshot)] == [
        (first, 3),
        (second, 1),
    ]


def test_an_earlier_end_leaves_later_files_out(table: IcebergTable) -> None:
    append(table, (0, 0))
    until = table.current_snapshot()
    append(table, (0, 1))
    assert until is not None
    assert read_offsets(table, added_files(table, after=0, until=until))[0].tolist() == [0]


def test_what_stands_twice_is_kept(table: IcebergTable) -> None:
    append(table, (0, 0), (0, 0))
    append(table, (0, 0))
    assert offsets(table, 0) == {0: [0, 0, 0]}


def test_a_file_that_was_appended_twice_is_listed_twice(table: IcebergTable) -> None:
    append(table, (0, 0), (0, 1))
    snapshot = table.current_snapshot()
    assert snapshot is not None
    [file] = live_files(table, snapshot)
    with table.transaction() as transaction, transaction.update_snapshot().fast_append() as again:
        again.append_data_file(file.data_file)
    assert offsets(table, 0) == {0: [0, 0, 1, 1]}
    assert offsets(table, 1) == {0: [0, 1]}


def test_rows_that_were_removed_since_are_still_listed_as_appended(table: IcebergTable) -> None:
    append(table, (0, 0), (0, 1))
    append(table, (0, 2))
    table.delete("kafka_offset < 1")
    append(table, (0, 3))
    snapshot = table.current_snapshot()
    assert snapshot is not None
    assert offsets(table, 0) == {0: [0, 1, 2, 3]}
    assert read_offsets(table, live_files(table, snapshot))[0].tolist() == [1, 2, 3]


def test_merged_manifests_keep_their_commits(table: IcebergTable) -> None:
    with table.transaction() as transaction:
        transaction.set_properties(
            {"commit.manifest-merge.enabled": "true", "commit.manifest.min-count-to-merge": "2"}
        )
    numbers = [append(table, (0, offset)) for offset in range(6)]
    assert offsets(table, numbers[2]) == {0: [3, 4, 5]}


def test_a_topic_leaves_the_rows_of_others_out(table: IcebergTable) -> None:
    append(table, (0, 0), topic="t")
    append(table, (0, 0), (1, 4), topic="u")
    assert offsets(table, 0, topic="u") == {0: [0], 1: [4]}
    assert offsets(table, 0, topic="v") == {}


def test_an_expired_history_is_refused_and_not_guessed(table: IcebergTable) -> None:
    for offset in range(4):
        append(table, (0, offset))
    table.maintenance.expire_snapshots().by_ids([s.snapshot_id for s in table.snapshots()[:2]]).commit()
    assert offsets(table, 2) == {0: [2, 3]}
    with pytest.raises(HistoryExpiredError, match="were expired"):
        offsets(table, 1)
