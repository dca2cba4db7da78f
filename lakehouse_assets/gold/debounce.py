"""When days that late events fell in are computed again: once for a batch of events. Pure functions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from lakehouse_assets.gold.partitions import day_ranges

QUIET = timedelta(minutes=5)
"""A day is asked for once no late event has come for it for so long: its batch is complete."""
LONGEST_WAIT = timedelta(minutes=30)
"""A day whose late events never pause is asked for so long after the first."""

FamilyDay = tuple[str, date]


@dataclass(frozen=True, slots=True)
class Arrival:
    """Late events of one family and day that were new at a tick, and the newest commit that brought some."""

    events: int
    sequence_number: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Late events of one family and day that are not asked for yet, and when the first and the last were seen."""

    first_seen: datetime
    last_seen: datetime
    events: int
    sequence_number: int


@dataclass(frozen=True, slots=True)
class Recomputation:
    """Days of a family, first and last included, that are to be computed again in one run."""

    family: str
    first: date
    last: date
    events: int
    sequence_number: int

    @property
    def run_key(self) -> str:
        """Same for the same days and late events, so that Dagster does not start what it has started."""
        return f"{self.family}:{self.first}:{self.last}:{self.sequence_number}"

    def holds(self, key: FamilyDay) -> bool:
        """Whether the day is one of them."""
        family, day = key
        return family == self.family and self.first <= day <= self.last


def decide(
    pending: Mapping[FamilyDay, Batch], arrivals: Mapping[FamilyDay, Arrival], now: datetime, *, most: int
) -> tuple[list[Recomputation], dict[FamilyDay, Batch]]:
    """At most ``most`` runs that are due, longest waiting first, and what stays or becomes pending.

    What arrives at the tick that asks for its day begins the next batch: the events may be in the table of late
    events, but not yet in bronze, which gold is computed from.
    """
    due = {key: batch for key, batch in pending.items() if _is_due(batch, key in arrivals, now)}
    longest_waiting = sorted(_runs(due), key=lambda waiting: (waiting[0], waiting[1].family, waiting[1].first))
    runs = [run for _, run in longest_waiting[:most]]
    left = {key: batch for key, batch in pending.items() if not any(run.holds(key) for run in runs)}
    for key, arrival in arrivals.items():
        left[key] = _grown(left.get(key), arrival, now)
    return runs, left


def _is_due(batch: Batch, has_arrivals: bool, now: datetime) -> bool:
    overdue = now - batch.first_seen >= LONGEST_WAIT
    return overdue or (not has_arrivals and now - batch.last_seen >= QUIET)


def _grown(batch: Batch | None, arrival: Arrival, now: datetime) -> Batch:
    if batch is None:
        return Batch(now, now, arrival.events, arrival.sequence_number)
    return replace(
        batch,
        last_seen=now,
        events=batch.events + arrival.events,
        sequence_number=max(batch.sequence_number, arrival.sequence_number),
    )


def _runs(due: Mapping[FamilyDay, Batch]) -> Iterator[tuple[datetime, Recomputation]]:
    """The days as few runs, each with the time that its first late event was seen."""
    for family in {family for family, _ in due}:
        days = [day for name, day in due if name == family]
        for first, last in day_ranges(days):
            batches = [due[family, first + timedelta(days=n)] for n in range((last - first).days + 1)]
            events, newest = sum(b.events for b in batches), max(b.sequence_number for b in batches)
            yield min(b.first_seen for b in batches), Recomputation(family, first, last, events, newest)
