"""Contiguity, uniqueness and the explanation of holes, against plain Python sets."""

from collections import Counter

import numpy as np
from audit_bench import FAMILY, FakeBroker
from hypothesis import given
from hypothesis import strategies as st

from audit.contiguity import contiguity, explain, runs
from audit.report import MAX_RANGES, OffsetRanges
from resources.offsets import Offsets

SOME = st.lists(st.integers(0, 40), max_size=40)
BY_PARTITION = st.dictionaries(st.integers(0, 2), SOME, max_size=3)
STARTS = st.dictionaries(st.integers(0, 2), st.integers(0, 10), max_size=3)


def arrays(offsets: dict[int, list[int]]) -> dict[int, Offsets]:
    return {partition: np.array(sorted(found), np.int64) for partition, found in offsets.items()}


def flat(found: dict[int, list[range]]) -> set[tuple[int, int]]:
    return {(partition, offset) for partition, listed in found.items() for run in listed for offset in run}


@given(BY_PARTITION, BY_PARTITION, STARTS, st.dictionaries(st.integers(0, 2), st.integers(0, 50), max_size=3))
def test_holes_and_doubles(
    bronze: dict[int, list[int]], dead: dict[int, list[int]], starts: dict[int, int], ends: dict[int, int]
) -> None:
    found = contiguity(arrays(bronze), arrays(dead), starts=starts, ends=ends)
    holes, twice = set(), set()
    for partition in range(3):
        counts = Counter(bronze.get(partition, []) + dead.get(partition, []))
        start = starts.get(partition, 0)
        end = max([ends.get(partition, 0), *(offset + 1 for offset in counts)])
        holes |= {(partition, offset) for offset in range(start, end) if offset not in counts}
        twice |= {(partition, offset) for offset, count in counts.items() if count > 1 or offset < start}
    assert flat(found.holes) == holes
    assert flat(found.doubled) == twice


@given(
    st.dictionaries(st.integers(0, 2), st.sets(st.integers(0, 30_000), max_size=30), max_size=3),
    st.dictionaries(st.integers(0, 2), st.sets(st.integers(0, 30_000), max_size=30), max_size=3),
    st.dictionaries(st.integers(0, 2), st.integers(0, 20_000), max_size=3),
)
def test_each_offset_of_a_hole_is_one_of_three_things(
    lacking: dict[int, set[int]], published: dict[int, set[int]], kept: dict[int, int]
) -> None:
    holes = {partition: runs(np.array(sorted(found), np.int64)) for partition, found in lacking.items()}
    found = explain(FakeBroker(published, kept), FAMILY.topic, holes, kept)
    places = {(partition, offset) for partition, offsets in lacking.items() for offset in offsets}
    # a partition that the broker does not know has nothing left
    gone = {(p, offset) for p, offset in places if p not in kept or offset < kept[p]}
    missing = {(p, o) for p, o in places - gone if o in published.get(p, set())}
    assert flat(found.unverifiable) == gone
    assert flat(found.missing) == missing
    assert found.control_records == len(places - gone - missing)


@given(st.sets(st.integers(0, 400)))
def test_a_report_counts_all_and_lists_the_first(offsets: set[int]) -> None:
    listed = runs(np.array(sorted(offsets), np.int64))
    found = OffsetRanges.of({7: listed})
    assert found.total == len(offsets)
    assert found.runs == len(listed)
    shown = [offset for span in found.ranges for offset in range(span.first, span.last + 1)]
    assert shown == sorted(offsets)[: len(shown)]
    assert len(found.ranges) == min(len(listed), MAX_RANGES)
    assert ("more ranges" in str(found)) == (len(listed) > MAX_RANGES)
