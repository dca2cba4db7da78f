"""What goes wrong between a sensor and its topic: broken bytes, late events, events sent twice."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import orjson

from sources.outgoing import Kind, Outgoing
from sources.simulate.fleet import Ints


def _cut_short(payload: bytes) -> bytes:
    return payload[: len(payload) // 2]


def _not_utf8(payload: bytes) -> bytes:
    return b"\xff\xfe\x00" + payload[5:40]


def _plain_text(payload: bytes) -> bytes:
    return b"sensor rebooted, watchdog reset, " + str(len(payload)).encode()


def _array(payload: bytes) -> bytes:
    return orjson.dumps(list(orjson.loads(payload).values()))


def _no_identity(payload: bytes) -> bytes:
    event = orjson.loads(payload)
    return orjson.dumps({name: value for name, value in event.items() if not name.endswith("_id")})


def _no_time(payload: bytes) -> bytes:
    return orjson.dumps({**orjson.loads(payload), "event_time": None})


def _unreadable_time(payload: bytes) -> bytes:
    return orjson.dumps({**orjson.loads(payload), "event_time": "yesterday"})


def _empty(_payload: bytes) -> bytes:
    return b""


BREAKAGES: tuple[Callable[[bytes], bytes], ...] = (
    _cut_short,
    _not_utf8,
    _plain_text,
    _array,
    _no_identity,
    _no_time,
    _unreadable_time,
    _empty,
)
"""Ways to break a payload; what each leaves has no readable identity or no readable time."""


@dataclass(frozen=True, slots=True)
class Faults:
    """How often each fault happens, as probabilities; ``delay_us`` is how far late events lie behind."""

    malformed: float = 0.0
    late: float = 0.0
    duplicates: float = 0.0
    delay_us: int = 0

    @property
    def any(self) -> bool:
        """Whether there are faults at all."""
        return max(self.malformed, self.late, self.duplicates) > 0


@dataclass(frozen=True, slots=True)
class Drawn:
    """Which events of a batch are hit."""

    malformed: npt.NDArray[np.bool_]
    late: npt.NDArray[np.bool_]
    repeated: npt.NDArray[np.bool_]


def draw(faults: Faults, count: int, rng: np.random.Generator) -> Drawn:
    """Decide for ``count`` events; a malformed one is neither late nor repeated."""
    chance = rng.random((3, count))
    malformed = chance[0] < faults.malformed
    late = ~malformed & (chance[1] < faults.late)
    repeated = ~malformed & (chance[2] < faults.duplicates)
    return Drawn(malformed, late, repeated)


def delayed(times: Ints, drawn: Drawn, faults: Faults) -> Ints:
    """Event times with the late ones pushed back."""
    return np.where(drawn.late, times - faults.delay_us, times)


def spoil(records: Outgoing, drawn: Drawn, rng: np.random.Generator) -> Outgoing:
    """Break the bytes of malformed records and send repeated ones a second time, right after the first."""
    kinds = records.kinds.copy()
    kinds[drawn.late] = Kind.LATE
    kinds[drawn.malformed] = Kind.MALFORMED
    payloads = list(records.payloads)
    for index in np.flatnonzero(drawn.malformed).tolist():
        payloads[index] = BREAKAGES[int(rng.integers(len(BREAKAGES)))](payloads[index])
    copies = np.repeat(np.arange(len(records)), 1 + drawn.repeated)
    spoiled = replace(records, payloads=payloads, kinds=kinds).take(copies)
    second = np.concatenate([[False], copies[1:] == copies[:-1]])
    spoiled.kinds[second] = Kind.DUPLICATE
    return spoiled
