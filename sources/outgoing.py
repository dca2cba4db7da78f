"""Records that are ready to be sent, and what each of them is."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sources.wire import encode, record_keys


class Kind(IntEnum):
    """What the source made of an event; see :class:`sources.ledger.KindCounts`."""

    VALID = 0
    LATE = 1
    DUPLICATE = 2
    MALFORMED = 3


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Records in the order they are sent; all fields have one entry per record.

    ``event_time`` is what the payload says and ``due`` when a paced source sends it, both in microseconds
    since the epoch; ``due`` never decreases.
    """

    payloads: list[bytes]
    keys: list[bytes]
    kinds: npt.NDArray[np.uint8]
    event_time: npt.NDArray[np.int64]
    due: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.payloads)

    def slice(self, start: int, end: int) -> "Outgoing":
        """Records ``start`` to ``end`` (exclusive)."""
        return Outgoing(
            self.payloads[start:end],
            self.keys[start:end],
            self.kinds[start:end],
            self.event_time[start:end],
            self.due[start:end],
        )

    def take(self, index: npt.NDArray[np.int64]) -> "Outgoing":
        """The records at ``index``."""
        return Outgoing(
            [self.payloads[position] for position in index.tolist()],
            [self.keys[position] for position in index.tolist()],
            self.kinds[index],
            self.event_time[index],
            self.due[index],
        )


def event_times(events: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """Event times of a batch in microseconds since the epoch."""
    times: npt.NDArray[np.int64] = pc.cast(events.column("event_time"), pa.int64()).to_numpy()
    return times


def outgoing(events: pa.RecordBatch) -> Outgoing:
    """All of ``events`` as valid records, due in the order they stand in."""
    times = event_times(events)
    return Outgoing(
        payloads=encode(events),
        keys=record_keys(events),
        kinds=np.zeros(len(times), dtype=np.uint8),
        event_time=times,
        due=np.maximum.accumulate(times),
    )
