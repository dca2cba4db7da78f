"""Runs a replay: from a file and its mapping to the ledger."""

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from contracts import Family
from resources.kafka import ensure_topics
from settings import Settings
from sources.delivery import EventProducer, ledger_of
from sources.errors import OptionError, SourceError
from sources.ledger import Ledger, ledger_path
from sources.replay.reader import EventReader
from sources.replay.rows import Rejected
from sources.stream import Lane, Pace, Progress, silent, stream
from sources.wire import encode


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What to replay.

    ``speedup`` is how much faster than in reality the events are sent; without it as fast as possible.
    ``limit`` is how many rows of the file are read at most.
    """

    path: Path
    family: Family
    mapping: Path
    speedup: float | None = None
    limit: int | None = None
    ledger_folder: Path | None = None


@dataclass(frozen=True, slots=True)
class DryRun:
    """The first rows as they would be published, and those of them that cannot be."""

    events: list[bytes]
    rejected: list[Rejected]


def run_replay(
    options: ReplayOptions,
    settings: Settings,
    progress: Progress = silent,
    stop: threading.Event | None = None,
) -> Ledger:
    """Publish the rows of a file as events and write the ledger, beside it the rows that were rejected.

    Setting ``stop`` ends the run early; what was sent is still waited for and entered.

    Raises:
        OptionError, MappingError, InputFileError: something is wrong with what was given. Nothing was sent,
            unless the file breaks off in its middle: then the ledger was written.
        KafkaUnavailableError: the broker does not answer; nothing was sent.
        DeliveryError: the client refused records; the ledger was written.
    """
    reader = _open_reader(options)
    reader.peek()
    ensure_topics(settings, [options.family])
    started = datetime.now(UTC)
    producer = EventProducer(settings)
    account = producer.deliveries(options.family.topic)
    path = ledger_path(settings, started, "replay", options.family.name, options.ledger_folder)
    rejected_path = path.with_suffix(".rejected.ndjson")
    sent_all = False
    with _created(rejected_path) as rejected_file:
        try:
            lane = Lane(account, reader.records(rejected_file))
            sent_all = stream(producer, [lane], Pace(options.speedup), progress, stop or threading.Event())
        finally:
            ledger = ledger_of(
                account,
                kind="replay",
                family=options.family.name,
                source=str(options.path),
                started=started,
                sent_all=sent_all,
            )
            ledger.rows_read = reader.rows_read
            ledger.rejected = sum(reader.rejected_by_reason.values())
            ledger.rejected_by_reason = dict(sorted(reader.rejected_by_reason.items()))
            ledger.rejected_file = rejected_path if ledger.rejected else None
            ledger.save(path)
    if not ledger.rejected:
        rejected_path.unlink()
    return ledger


def _created(path: Path) -> BinaryIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("wb")
    except OSError as error:
        raise SourceError(f"{path}: cannot be written: {error.strerror}") from error


def dry_run(options: ReplayOptions) -> DryRun:
    """The first rows of the file as events; nothing is sent.

    Raises:
        OptionError, MappingError, InputFileError: something is wrong with what was given.
    """
    events, rejected = _open_reader(options).peek()
    return DryRun(encode(events), rejected)


def _open_reader(options: ReplayOptions) -> EventReader:
    if options.speedup is not None and not options.speedup > 0:
        raise OptionError(f"--speedup {options.speedup:g}: a speed-up is above zero")
    if options.limit is not None and options.limit < 1:
        raise OptionError(f"--limit {options.limit}: at least one row is needed")
    return EventReader(options.path, options.family, options.mapping, options.limit)
