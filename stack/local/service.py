"""What the supervisor has to know about one service."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum


class Stage(IntEnum):
    """When a service starts: the infrastructure first, then what needs its tables and topics."""

    INFRASTRUCTURE = 1
    APPLICATION = 2


@dataclass(frozen=True, slots=True)
class Service:
    """One supervised process.

    ``is_ready`` answers whether the service does its work now; it never blocks for more than a few seconds.
    ``ports`` are all that it listens on. ``stop_seconds`` is how long it may take to end by itself. One
    that is ``nice`` gives way to the others, with what it starts.
    """

    name: str
    stage: Stage
    command: tuple[str, ...]
    is_ready: Callable[[], bool]
    address: str
    ports: tuple[int, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_seconds: int = 20
    start_seconds: int = 90
    nice: int = 0
