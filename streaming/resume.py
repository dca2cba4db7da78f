"""How a job whose state does not fit any more takes up where the one before it ended.

A changed contract changes the state of windows, which Flink cannot migrate. The new job starts without state and
reads again what it needs to build it: the topic since the deduplication TTL before the old job ended. What the old
job has written already is left out by position: events by their Kafka offset, windows by their end.

What was late for the old job is not known to the new one: it judges by its own watermark, which depends on how far
it has read each partition. An event of a window that was open when the old job ended, mostly one of five minutes,
may so be in it and among the late ones, or in neither; the check ``reconciliation`` names such windows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self


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

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what ``stack.jobs.upgrade`` wrote."""
        return cls(
            read_from={int(partition): offset for partition, offset in value["read_from"].items()},
            written_up_to={int(partition): offset for partition, offset in value["written_up_to"].items()},
            windows_up_to={table: datetime.fromisoformat(end) for table, end in value["windows_up_to"].items()},
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

    def is_after_its_window(self, row_time: str) -> str:
        """Condition of the events that the old job has not written, and whose window it had closed.

        The watermark of the new job begins anew and may not have passed such a window yet.
        """
        if self.closed_until is None:
            return "FALSE"
        return f"({self.unwritten_events()} AND `{row_time}` < {instant(self.closed_until)})"

    def unwritten_windows(self) -> str:
        """Condition of the windows that the old job had not closed."""
        return "TRUE" if self.closed_until is None else f"window_end > TIMESTAMP '{_text(self.closed_until)}'"


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
