"""The ledger of a run: what the broker acknowledged, so that everything downstream can be held against it."""

import os
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from settings import Settings
from sources.errors import SourceError


class PartitionLedger(BaseModel):
    """Acknowledged records of one partition; offsets are those of the first and the last of them."""

    model_config = ConfigDict(extra="forbid")

    count: int
    first_offset: int
    last_offset: int


class KindCounts(BaseModel):
    """Acknowledged records by what the source made of them.

    ``valid`` events are neither late nor repeated. ``duplicate`` counts second copies only. ``malformed``
    records hold bytes from which no reader gets an event's identity and time.
    """

    model_config = ConfigDict(extra="forbid")

    valid: int = 0
    late: int = 0
    duplicate: int = 0
    malformed: int = 0


class Ledger(BaseModel):
    """What one run of a source published to one topic.

    ``failed`` records are certainly not in the topic; of ``unknown`` ones the answer of the broker was lost.
    ``events_by_minute`` counts acknowledged events by the minute of their event time (``2026-11-24T07:00Z``):
    late ones and second copies are in it, malformed ones are not. ``distinct_events`` leaves second copies
    out. ``rejected`` counts input rows that could not become events; ``rejected_file`` lists them.
    """

    model_config = ConfigDict(extra="forbid")

    kind: Literal["simulate", "replay"]
    family: str
    topic: str
    source: str
    """Input file, or how the simulation was seeded."""
    started: datetime
    ended: datetime
    complete: bool
    """False when the run was interrupted or failed before everything was sent."""
    seconds: float
    acknowledged: int
    failed: int
    unknown: int
    by_kind: KindCounts
    distinct_events: int
    sensors: int
    partitions: dict[int, PartitionLedger]
    rows_read: int | None = None
    rejected: int = 0
    rejected_by_reason: dict[str, int] = Field(default_factory=dict)
    rejected_file: Path | None = None
    events_by_minute: dict[str, int]
    path: Path | None = Field(default=None, exclude=True)
    """Where the ledger was saved or loaded."""

    @property
    def events_per_s(self) -> float:
        """Acknowledged records per second, from the first record sent to the last answer."""
        return self.acknowledged / self.seconds if self.seconds else 0.0

    def joined(self, later: "Ledger") -> "Ledger":
        """One ledger of this run and a ``later`` one to the same topic, nobody else publishing in between."""
        partitions = dict(self.partitions)
        for number, added in later.partitions.items():
            known = partitions.get(number)
            partitions[number] = (
                added
                if known is None
                else PartitionLedger(
                    count=known.count + added.count, first_offset=known.first_offset, last_offset=added.last_offset
                )
            )
        minutes = Counter(self.events_by_minute) + Counter(later.events_by_minute)
        return self.model_copy(
            update={
                "ended": later.ended,
                "complete": self.complete and later.complete,
                "seconds": self.seconds + later.seconds,
                "acknowledged": self.acknowledged + later.acknowledged,
                "failed": self.failed + later.failed,
                "unknown": self.unknown + later.unknown,
                "by_kind": KindCounts(
                    **{
                        kind: getattr(self.by_kind, kind) + getattr(later.by_kind, kind)
                        for kind in KindCounts.model_fields
                    }
                ),
                "distinct_events": self.distinct_events + later.distinct_events,
                "sensors": max(self.sensors, later.sensors),
                "partitions": partitions,
                "events_by_minute": dict(sorted(minutes.items())),
                "path": None,
            }
        )

    def save(self, path: Path) -> None:
        """Write the ledger to ``path``, all of it or nothing.

        Raises:
            SourceError: the folder cannot be written to.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            with os.fdopen(handle, "wb") as file:
                file.write(orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_INDENT_2))
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
            self.path = path
        except OSError as error:
            raise SourceError(f"{path}: the ledger cannot be written: {error.strerror}") from error

    @classmethod
    def load(cls, path: Path) -> "Ledger":
        """Read a ledger.

        Raises:
            SourceError: the file is missing or is no ledger.
        """
        try:
            ledger = cls.model_validate(orjson.loads(path.read_bytes()))
        except OSError as error:
            raise SourceError(f"{path}: the ledger cannot be read: {error.strerror}") from error
        except (orjson.JSONDecodeError, ValidationError) as error:
            raise SourceError(f"{path}: is no ledger: {str(error).splitlines()[0]}") from error
        ledger.path = path
        return ledger


def ledger_path(settings: Settings, started: datetime, kind: str, family: str, folder: Path | None) -> Path:
    """Where the ledger of a run goes: ``folder``, else ``<home>/ledgers``; names sort by time."""
    stamp = started.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    return (folder or settings.home / "ledgers") / f"{stamp}-{kind}-{family}.json"
