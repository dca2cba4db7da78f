"""What the collector decides by itself: which committed offsets are settled, and how much it holds at once."""

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import family
from dead_letters import collector
from dead_letters.classify import classify
from dead_letters.collector import CommittedOffsets, in_batches
from dead_letters.errors import PositionError
from dead_letters.fetch import Record
from dead_letters.store import POSITION_PROPERTY, DeadLetter, Position, read_position

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)
SETTLE_S = 30.0


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 3)), max_size=30))
def test_a_committed_offset_is_settled_after_its_time(steps: list[tuple[int, int]]) -> None:
    """Against the whole history, which the real thing does not keep."""
    offsets = CommittedOffsets(SETTLE_S)
    times: list[float] = []
    values: list[int] = []
    now, committed = 0.0, 0
    for passed, read in steps:
        now += passed
        committed += read
        offsets.add(now, {0: committed})
        times.append(now)
        values.append(committed)
        known = bisect_right(times, now - SETTLE_S)
        assert offsets.settled(now) == ({0: values[known - 1]} if known else {})


def letters(sizes: list[int]) -> Iterator[DeadLetter]:
    for offset, size in enumerate(sizes):
        defect = classify(None, NOW, family("traffic"))
        assert defect is not None
        yield DeadLetter(Record("sensors.traffic", 0, offset, NOW, None, b"x" * size), defect)


@given(st.lists(st.integers(0, 50), max_size=60))
def test_batches_are_bounded_and_leave_nothing_out(sizes: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collector, "BATCH_RECORDS", 7)
        patch.setattr(collector, "BATCH_BYTES", 100)
        batches = list(in_batches(letters(sizes)))
    assert [letter.record.offset for batch in batches for letter in batch] == list(range(len(sizes)))
    for batch in batches:
        assert 1 <= len(batch) <= 7
        assert sum(len(letter.record.value or b"") for letter in batch[:-1]) < 100


class Properties:
    """Stands for a table: its properties are all that is read."""

    def __init__(self, text: str) -> None:
        self.properties = {POSITION_PROPERTY.format(family="traffic"): text}


def test_a_position_is_read_as_agreed() -> None:
    text = '{"table_uuid":"u","snapshot_id":"12","sequence_number":3,"next_offsets":{"0":5,"11":7}}'
    assert read_position(Properties(text), "traffic") == Position("u", "12", 3, {0: 5, 11: 7})  # type: ignore[arg-type]
    assert read_position(Properties(text), "weather") is None  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"table_uuid":"u","snapshot_id":"1","sequence_number":"x"}'])
def test_a_position_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(PositionError, match=r"collector\.position\.traffic"):
        read_position(Properties(text), "traffic")  # type: ignore[arg-type]
