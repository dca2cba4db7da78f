"""How a job whose state does not fit any more takes up where the one before it ended.

A changed contract changes the state of windows, which Flink cannot migrate. The new job starts without state and
reads again what it needs to build it: the topic since the deduplication TTL before the old job ended. What the old
job has written already is left out by position: events by their Kafka offset, windows by their end.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from contracts import Table


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

    def unwritten_windows(self, table: Table) -> str:
        """Condition of the windows that the old job has not written to ``table``."""
        end = self.windows_up_to.get(table.identifier)
        return "TRUE" if end is None else f"window_end > TIMESTAMP '{end:%Y-%m-%d %H:%M:%S}'"
