"""The arithmetic on offsets: contiguous and unique, with what fills a hole counted in."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from audit.broker import Broker
from resources.offsets import Offsets, doubled, gaps

NEARBY = 5_000
"""Holes that are no further apart are looked up in one read of the topic."""

NONE: Offsets = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Contiguity:
    """Offsets of each partition that are in no table, and those that are there more than once."""

    holes: dict[int, list[range]]
    doubled: dict[int, list[range]]


@dataclass(slots=True)
class Explanation:
    """What holes are: ``missing`` records were published, ``unverifiable`` ones Kafka no longer has."""

    control_records: int = 0
    missing: dict[int, list[range]] = field(default_factory=dict)
    unverifiable: dict[int, list[range]] = field(default_factory=dict)


def contiguity(
    bronze: Mapping[int, Offsets],
    dead_letters: Mapping[int, Offsets],
    *,
    starts: Mapping[int, int],
    ends: Mapping[int, int],
) -> Contiguity:
    """Hold the sorted offsets of both tables against all offsets from ``starts`` up to, and without, ``ends``.

    What lies below its partition's start was there before, and is doubled.
    """
    holes: dict[int, list[range]] = {}
    again: dict[int, list[range]] = {}
    for partition in sorted({*bronze, *dead_letters, *ends}):
        present = np.sort(np.concatenate([bronze.get(partition, NONE), dead_letters.get(partition, NONE)]))
        start = starts.get(partition, 0)
        if missing := gaps(np.append(present, ends.get(partition, start)), start):
            holes[partition] = missing
        if (twice := np.union1d(doubled(present), present[present < start])).size:
            again[partition] = runs(twice)
    return Contiguity(holes, again)


def runs(offsets: Offsets) -> list[range]:
    """Sorted distinct offsets as runs of consecutive ones."""
    if not offsets.size:
        return []
    cuts = np.flatnonzero(np.diff(offsets) > 1)
    firsts = offsets[np.concatenate([[0], cuts + 1])]
    lasts = offsets[np.concatenate([cuts, [offsets.size - 1]])]
    return [range(int(first), int(last) + 1) for first, last in zip(firsts, lasts, strict=True)]


def explain(
    broker: Broker, topic: str, holes: Mapping[int, list[range]], kept_from: Mapping[int, int]
) -> Explanation:
    """Ask the broker what the holes are; ``kept_from`` is the first offset of each partition that it still has.

    A partition that the topic does not have, since it was created again with fewer, has nothing to ask for.
    """
    found = Explanation()
    for partition, listed in holes.items():
        kept = kept_from.get(partition, max((hole.stop for hole in listed), default=0))
        gone = [run for hole in listed if (run := range(hole.start, min(hole.stop, kept)))]
        there = [run for hole in listed if (run := range(max(hole.start, kept), hole.stop))]
        if gone:
            found.unverifiable[partition] = gone
        records = [offset for span in _joined(there) for offset in broker.published(topic, partition, span)]
        published = np.array(records, np.int64)
        lost = [
            run
            for hole in there
            for run in runs(
                published[np.searchsorted(published, hole.start) : np.searchsorted(published, hole.stop)]
            )
        ]
        if lost:
            found.missing[partition] = lost
        found.control_records += sum(map(len, there)) - sum(map(len, lost))
    return found


def _joined(holes: list[range]) -> list[range]:
    spans: list[range] = []
    for hole in holes:
        if spans and hole.start - spans[-1].stop <= NEARBY:
            spans[-1] = range(spans[-1].start, hole.stop)
        else:
            spans.append(hole)
    return spans
