"""What a scenario is."""

from collections.abc import Callable
from dataclasses import dataclass

from stack.chaos.checks import Findings
from stack.chaos.load import Published
from stack.chaos.trial import Trial
from stack.chaos.volumes import Volume

Inject = Callable[[Trial], None]
Verify = Callable[[Trial, Published, Findings], list[str]]


def nothing_more(_trial: Trial, _published: Published, _findings: Findings) -> list[str]:
    """Verify nothing beyond what holds after every scenario."""
    return []


@dataclass(frozen=True, slots=True)
class Scenario:
    """A fault and what it is streamed with.

    ``inject`` breaks something and mends it; it returns when the fault is over. ``verify`` returns what is wrong
    beyond what is checked after every scenario. ``live`` events have the times of now. ``doubles`` marks the one
    that must double rows, which are then repaired. ``volume`` is a small disk that it needs in a stack of its own.
    """

    name: str
    description: str
    inject: Inject
    families: tuple[str, ...] = ("traffic",)
    live: bool = False
    verify: Verify = nothing_more
    doubles: bool = False
    volume: Volume | None = None
