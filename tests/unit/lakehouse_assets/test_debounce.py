"""When late events have their days computed again: after a pause, not too late, once, and all of them."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from lakehouse_assets.gold.debounce import (
    LONGEST_WAIT,
    QUIET,
    Arrival,
    Batch,
    FamilyDay,
    Recomputation,
    decide,
)

NOON = datetime(2026, 3, 5, 12, tzinfo=UTC)
FIRST = date(2026, 3, 1)
DAY = ("traffic", FIRST)
SECOND = timedelta(seconds=1)


def days_of(runs: Iterable[Recomputation]) -> list[FamilyDay]:
    """Every day that the runs compute, one that two of them compute twice."""
    return [
        (run.family, run.first + timedelta(days=number))
        for run in runs
        for number in range((run.last - run.first).days + 1)
    ]


def batch(*, first: datetime, last: datetime, sequence_number: int = 1) -> Batch:
    return Batch(first, last, 1, sequence_number)


def test_a_day_is_asked_for_after_a_pause_and_not_before() -> None:
    pending = {DAY: batch(first=NOON, last=NOON + SECOND)}
    runs, left = decide(pending, {}, NOON + QUIET, most=8)
    assert (runs, left) == ([], pending)
    runs, left = decide(pending, {}, NOON + SECOND + QUIET, most=8)
    assert (days_of(runs), left) == ([DAY], {})


def test_another_event_prolongs_the_wait_and_counts() -> None:
    now = NOON + QUIET
    runs, left = decide({DAY: batch(first=NOON, last=NOON)}, {DAY: Arrival(3, 9)}, now, most=8)
    assert runs == []
    assert left == {DAY: Batch(NOON, now, 4, 9)}


def test_a_day_whose_events_never_pause_is_asked_for_and_what_comes_then_is_the_next_batch() -> None:
    now = NOON + LONGEST_WAIT
    pending = {DAY: batch(first=NOON, last=now - SECOND)}
    runs, left = decide(pending, {DAY: Arrival(2, 7)}, now, most=8)
    assert runs == [Recomputation(*DAY, FIRST, 1, 1)]
    assert left == {DAY: Batch(now, now, 2, 7)}


def test_days_that_follow_each_other_are_one_run_and_a_gap_or_another_family_begins_one() -> None:
    old = batch(first=NOON, last=NOON)
    numbers = {"energy": (0, 1, 2, 4), "traffic": (5, 6)}
    pending = {(family, FIRST + timedelta(days=n)): old for family, days in numbers.items() for n in days}
    runs, left = decide(pending, {}, NOON + QUIET, most=8)
    found = [(run.family, (run.first - FIRST).days, (run.last - FIRST).days, run.events) for run in runs]
    assert found == [("energy", 0, 2, 3), ("energy", 4, 4, 1), ("traffic", 5, 6, 2)]
    assert left == {}


def test_a_run_has_a_month_at_most() -> None:
    pending = {("traffic", FIRST + timedelta(days=n)): batch(first=NOON, last=NOON) for n in range(70)}
    runs, _ = decide(pending, {}, NOON + QUIET, most=8)
    assert [(run.last - run.first).days + 1 for run in runs] == [31, 31, 8]


def test_what_is_too_much_for_a_tick_stays_and_who_has_waited_longest_goes_first() -> None:
    waiting = {
        ("traffic", FIRST + timedelta(days=2 * n)): batch(first=NOON - n * SECOND, last=NOON) for n in range(5)
    }
    runs, left = decide(waiting, {}, NOON + QUIET, most=2)
    assert days_of(runs) == [("traffic", FIRST + timedelta(days=8)), ("traffic", FIRST + timedelta(days=6))]
    runs, left = decide(left, {}, NOON + QUIET, most=2)
    assert days_of(runs) == [("traffic", FIRST + timedelta(days=4)), ("traffic", FIRST + timedelta(days=2))]
    runs, left = decide(left, {}, NOON + QUIET, most=2)
    assert (days_of(runs), left) == ([DAY], {})


def test_the_run_key_is_of_the_days_and_the_newest_late_event() -> None:
    old = batch(first=NOON, last=NOON, sequence_number=4)
    newer = batch(first=NOON, last=NOON, sequence_number=6)
    keys = {
        run.run_key
        for pending in (
            {DAY: old},
            {DAY: newer},
            {("energy", FIRST): old},
            {DAY: old, ("traffic", FIRST + timedelta(days=1)): old},
            {("traffic", FIRST + timedelta(days=1)): old},
        )
        for run in decide(pending, {}, NOON + QUIET, most=8)[0]
    }
    assert len(keys) == 5


KEYS = st.tuples(
    st.sampled_from(["energy", "traffic"]), st.integers(0, 40).map(lambda n: FIRST + timedelta(days=n))
)
TICKS = st.lists(
    st.tuples(st.integers(1, 600), st.dictionaries(KEYS, st.integers(1, 5), max_size=12)), max_size=40
)


@given(ticks=TICKS, most=st.integers(1, 8))
def test_every_late_event_is_healed_in_time_and_none_twice(
    ticks: list[tuple[int, dict[FamilyDay, int]]], most: int
) -> None:
    """Against a plain list of events: each is covered by one later run, and no run is without an event."""
    now, pending = NOON, dict[FamilyDay, Batch]()
    waiting: dict[FamilyDay, list[datetime]] = {}
    quiet_end = [(int(QUIET.total_seconds()), dict[FamilyDay, int]())] * 60
    for sequence_number, (seconds, events) in enumerate([*ticks, *quiet_end], start=1):
        now += timedelta(seconds=seconds)
        arrivals = {key: Arrival(count, sequence_number) for key, count in events.items()}
        runs, pending = decide(pending, arrivals, now, most=most)
        assert len(runs) <= most
        asked = days_of(runs)
        assert len(asked) == len(set(asked))
        assert sum(run.events for run in runs) == sum(len(waiting[key]) for key in asked)
        for key in asked:
            seen = waiting.pop(key)
            paused = key not in events and now - seen[-1] >= QUIET
            assert paused or now - seen[0] >= LONGEST_WAIT
        if len(runs) < most:  # nothing was held back: what is still waiting may wait
            for key, seen in waiting.items():
                assert now - seen[0] < LONGEST_WAIT
                assert key in events or now - seen[-1] < QUIET
        for key, count in events.items():
            waiting.setdefault(key, []).extend([now] * count)
        assert set(pending) == set(waiting)
    assert waiting == {}
