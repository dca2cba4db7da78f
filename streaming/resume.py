"""How a job whose state does not fit any more takes up where the one before it ended.

A changed contract changes the state of windows, which Flink cannot migrate. The new job starts without state and
reads again what it needs to build it: the topic since the deduplication TTL before the old job ended. What the old
job has written already is left out by position: events by their Kafka offset, windows by their end.

What the new job reads for the second time it judges as the old one did: late is what the old job has called late,
and nothing else. Its own watermark depends on how far it has read each partition, so events that were written
already move it no further than to the end of the windows that were closed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

WAS_LATE = "WAS_LATE"
"""The SQL function over partition and offset that is true for :attr:`Resume.late`."""


def instant(moment: datetime) -> str:
    """Write ``moment`` as a SQL instant of a session in UTC."""
    return f"CAST(TIMESTAMP '{_text(moment)}' AS TIMESTAMP_LTZ(6))"


@dataclass(frozen=True, slots=True)
class Resume:
    """Positions of the old job: per partition the first offset to read and the first that is not written yet."""

    read_from: Mapping[int, int]
    written_up_to: Mapping[int, int]
    windows_up_to: Mapping[str, datetime]
    """By table, the end of the newest window in it."""
    late: Mapping[int, Sequence[int]] = field(default_factory=dict)
    """Offsets by partition of what was late for the old job and lies in windows that it had not closed."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what ``stack.jobs.upgrade`` wrote."""
        return cls(
            read_from={int(partition): offset for partition, offset in value["read_from"].items()},
            written_up_to={int(partition): offset for partition, offset in value["written_up_to"].items()},
            windows_up_to={table: datetime.fromisoformat(end) for table, end in value["windows_up_to"].items()},
            late={int(partition): offsets for partition, offsets in value["late"].items()},
        )

    def startup_options(self) -> dict[str, str]:
        """Options of the Kafka source that start it at ``read_from``."""
        offsets = ";".join(f"partition:{part},offset:{offset}" for part, offset in sorted(self.read_from.items()))
        return {"scan.startup.mode": "specific-offsets", "scan.startup.specific-offsets": offsets}

    def unwritten_events(self) -> str:
        """Condition of the events that the old job has not written."""
        written = " OR ".join(
            f"(`kafka_partition` = {partition} AND `kafka_offset` < {offset})"
            for partition, offset in sorted(self.written_up_to.items())
        )
        return f"NOT ({written})" if written else "TRUE"

    @property
    def closed_until(self) -> datetime | None:
        """Up to here the old job had closed its windows, those without events too; ``None`` where it had none."""
        return max(self.windows_up_to.values(), default=None)

    def is_late(self, row_time: str, is_behind: str) -> str:
        """Condition of late events: the old job's judgement of what it has written, else that of the watermark.

        The watermark of the new job begins anew and may not have passed yet what the old job had closed.

        Args:
            row_time: column of the event's time.
            is_behind: condition of the events whose window the watermark has passed.
        """
        was_late = f"{WAS_LATE}(`kafka_partition`, `kafka_offset`)" if self.late else "FALSE"
        closed = "FALSE" if self.closed_until is None else f"`{row_time}` < {instant(self.closed_until)}"
        return f"CASE WHEN {self.unwritten_events()} THEN {is_behind} OR {closed} ELSE {was_late} END"

    def watermark(self, mark: str) -> str:
        """The watermark ``mark`` of an event, null where it would close what the old job left open."""
        counts = self.unwritten_events()
        if self.closed_until is not None:
            counts = f"{counts} OR {mark} <= {instant(self.closed_until)}"
        return f"CASE WHEN {counts} THEN {mark} END"

    def late_offsets(self) -> str:
        """:attr:`late` as the function :data:`WAS_LATE` is made of it: ``0:17,42;3:5``."""
        return ";".join(
            f"{partition}:{','.join(map(str, offsets))}" for partition, offsets in sorted(self.late.items())
        )

    def unwritten_windows(self) -> str:
        """Condition of the windows that the old job had not closed."""
        return "TRUE" if self.closed_until is None else f"window_end > TIMESTAMP '{_text(self.closed_until)}'"


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
