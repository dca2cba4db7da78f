"""When days that late events fell in are computed again: once for a batch of events. No input, no output."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

QUIET = timedelta(minutes=5)
"""A day is asked for once no late event has come for it for so long: its batch is complete."""
LONGEST_WAIT = timedelta(minutes=30)
"""A day whose late events never pause is asked for so long after the first."""
MAX_DAYS_PER_RUN = 31
"""As ``./lakehouse backfill`` has it: what one Spark session computes before readers see any of it."""

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
    longest_waiting = sorted(
        _runs(due), key=lambda run: min(batch.first_seen for key, batch in due.items() if run.holds(key))
    )
    runs = longest_waiting[:most]
    left = {key: batch for key, batch in pending.items() if not (key in due and any(r.holds(key) for r in runs))}
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


def _runs(due: Mapping[FamilyDay, Batch]) -> Iterator[Recomputation]:
    """The days as few runs: those of a family that follow each other are one, up to the limit of a run."""
    run: Recomputation | None = None
    for (family, day), batch in sorted(due.items(), key=lambda item: item[0]):
        if run is not None and _continues(run, family, day):
            run = replace(
                run,
                last=day,
                events=run.events + batch.events,
                sequence_number=max(run.sequence_number, batch.sequence_number),
            )
            continue
        if run is not None:
            yield run
        run = Recomputation(family, day, day, batch.events, batch.sequence_number)
    if run is not None:
        yield run


def _continues(run: Recomputation, family: str, day: date) -> bool:
    return (
        family == run.family and day == run.last + timedelta(days=1) and (day - run.first).days < MAX_DAYS_PER_RUN
    )
