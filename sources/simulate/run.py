"""Runs a simulation: from its options to the ledgers."""

import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from contracts import Family, families
from resources.kafka import ensure_topics
from settings import Settings
from sources.delivery import EventProducer, ledger_of
from sources.errors import OptionError
from sources.ledger import Ledger, ledger_path
from sources.simulate.events import FamilyEvents
from sources.simulate.faults import Faults
from sources.simulate.fleet import build_fleet
from sources.simulate.schedule import Schedule, schedule
from sources.stream import Lane, Pace, Progress, silent, stream

DEFAULT_SENSORS = 200
DEFAULT_DELAY = timedelta(minutes=5)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class SimulationOptions:
    """What to simulate.

    With ``start`` and ``end`` it is history: ``sensors`` sensors of each family report at the family's
    interval, sent as fast as possible or ``rate`` events a second. Without, it is live: the sensors report
    now, for ``duration`` or until stopped, together ``rate`` events a second if that is given. ``rate`` is
    that of all families together, and nominal: sensors that are away send nothing.
    ``malformed``, ``late`` and ``duplicates`` are probabilities; ``delay`` is how far late events lie behind.
    """

    families: tuple[Family, ...] = ()
    """Empty for all."""
    sensors: int = DEFAULT_SENSORS
    seed: int = 1
    rate: float | None = None
    duration: timedelta | None = None
    start: datetime | None = None
    end: datetime | None = None
    malformed: float = 0.0
    late: float = 0.0
    duplicates: float = 0.0
    delay: timedelta = DEFAULT_DELAY
    ledger_folder: Path | None = None

    @property
    def live(self) -> bool:
        """Whether the events are of now."""
        return self.start is None

    @property
    def chosen(self) -> tuple[Family, ...]:
        """The families that are simulated."""
        return self.families or families()


def run_simulation(
    options: SimulationOptions,
    settings: Settings,
    progress: Progress = silent,
    stop: threading.Event | None = None,
) -> list[Ledger]:
    """Publish simulated events and write one ledger for each family.

    Setting ``stop`` ends the run early; what was sent is still waited for and entered.

    Raises:
        OptionError: the options contradict each other or are out of range; nothing was sent.
        KafkaUnavailableError: the broker does not answer; nothing was sent.
        DeliveryError: the client refused records; the ledgers were written.
    """
    check(options)
    stop = stop or threading.Event()
    ensure_topics(settings, options.chosen)
    producer = EventProducer(settings)
    for family in options.chosen:
        # imports and caches: a live simulation must not start behind its own clock
        family_events(options, family, datetime.now(UTC)).batch(0)
    started = datetime.now(UTC)
    lanes = [
        Lane(producer.deliveries(family.topic), family_events(options, family, started).records())
        for family in options.chosen
    ]
    sent_all = False
    try:
        sent_all = stream(producer, lanes, _pace(options, started), progress, stop)
    finally:
        ledgers = [
            ledger_of(
                lane.account,
                kind="simulate",
                family=family.name,
                source=f"seed {options.seed}, {options.sensors} sensors",
                started=started,
                sent_all=sent_all,
            )
            for family, lane in zip(options.chosen, lanes, strict=True)
        ]
        for ledger in ledgers:
            ledger.save(ledger_path(settings, started, "simulate", ledger.family, options.ledger_folder))
    return ledgers


def family_schedule(options: SimulationOptions, family: Family, now: datetime) -> Schedule:
    """When the sensors of ``family`` report; a live simulation starts ``now``."""
    start = options.start or now
    end = options.end if options.duration is None else start + options.duration
    interval_us = family.reporting_interval / _MICROSECOND
    if options.live and options.rate is not None:
        interval_us = options.sensors * len(options.chosen) * 1e6 / options.rate
    return schedule(
        options.sensors, _microseconds(start), None if end is None else _microseconds(end), interval_us
    )


def family_events(options: SimulationOptions, family: Family, now: datetime) -> FamilyEvents:
    """The events of ``family``; a live simulation starts ``now``."""
    return FamilyEvents(
        build_fleet(family, options.sensors, options.seed),
        family_schedule(options, family, now),
        Faults(options.malformed, options.late, options.duplicates, options.delay // _MICROSECOND),
    )


def expected_records(options: SimulationOptions) -> int | None:
    """About how many records the run will send; ``None`` if it goes on until it is stopped."""
    now = datetime.now(UTC)
    totals = [family_schedule(options, family, now).total for family in options.chosen]
    known = [total for total in totals if total is not None]
    return round(sum(known) * (1 + options.duplicates)) if len(known) == len(totals) else None


def check(options: SimulationOptions) -> None:
    """Refuse options that make no sense.

    Raises:
        OptionError: says which, and what would do.
    """
    if options.sensors < 1:
        raise OptionError(f"--sensors {options.sensors}: at least one sensor is needed")
    if options.seed < 0:
        raise OptionError(f"--seed {options.seed}: a seed is not negative")
    if options.rate is not None and not options.rate > 0:
        raise OptionError(f"--rate {options.rate:g}: a rate is above zero")
    for name, value in (
        ("malformed", options.malformed),
        ("late", options.late),
        ("duplicates", options.duplicates),
    ):
        if not 0 <= value <= 1:
            raise OptionError(f"--{name} {value:g}: a probability lies between 0 and 1")
    _check_interval(options)
    if options.late > 0:
        for family in options.chosen:
            if options.delay <= family.out_of_orderness:
                raise OptionError(
                    f"--delay {options.delay.total_seconds():g}: {family.name} events up to "
                    f"{family.out_of_orderness.total_seconds():g} s behind are still on time: choose more"
                )


def _check_interval(options: SimulationOptions) -> None:
    if (options.start is None) != (options.end is None):
        raise OptionError("--from and --to belong together: one of them is missing")
    if options.duration is not None and options.duration <= timedelta(0):
        raise OptionError(f"--duration {options.duration.total_seconds():g}: a duration is above zero")
    if options.start is None or options.end is None:
        return
    if options.duration is not None:
        raise OptionError("--duration is for a live simulation: with --from and --to the interval says how long")
    if options.start.tzinfo is None or options.end.tzinfo is None:
        raise OptionError("--from and --to need a time zone")
    if options.end <= options.start:
        raise OptionError(f"--to {options.end.isoformat()} is not after --from {options.start.isoformat()}")


def _pace(options: SimulationOptions, started: datetime) -> Pace:
    if options.live:
        return Pace(speed=1.0, start=started.timestamp())
    if options.rate is None:
        return Pace()
    natural = sum(options.sensors / family.reporting_interval.total_seconds() for family in options.chosen)
    return Pace(speed=options.rate / natural)


def _microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // _MICROSECOND
