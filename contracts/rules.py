"""What holds within one row, by the definition of its columns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

ROUNDING = 1e-9
"""Relative; a mean of equal floating-point numbers may come out above the greatest of them."""


@dataclass(frozen=True, slots=True)
class NotBelow:
    """``greater`` is not below ``lesser`` where both are present; ``strict``: nor equal to it.

    ``rounding`` allows for :data:`ROUNDING`. ``measured`` says that sensors make the values, not a job.
    """

    greater: str
    lesser: str
    strict: bool = False
    rounding: bool = False
    measured: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that the rule is about."""
        return self.greater, self.lesser

    def __str__(self) -> str:
        return f"{self.greater} {'>' if self.strict else '>='} {self.lesser}"


@dataclass(frozen=True, slots=True)
class Counted:
    """``column`` summarises ``count`` values: it is null where there are none.

    ``present`` says that it never is where there are some. ``measured`` is as in :class:`NotBelow`.
    """

    column: str
    count: str
    present: bool = True
    measured: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that the rule is about."""
        return self.column, self.count

    def __str__(self) -> str:
        return f"{self.column} null {'exactly ' if self.present else ''}where {self.count} = 0"


@dataclass(frozen=True, slots=True)
class OneOf:
    """``column`` has one of ``values``, or is null. ``measured`` is as in :class:`NotBelow`."""

    column: str
    values: tuple[str, ...]
    measured: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that the rule is about."""
        return (self.column,)

    def __str__(self) -> str:
        return f"{self.column} one of {', '.join(self.values)}"


Rule = NotBelow | Counted | OneOf

WINDOW = NotBelow("window_end", "window_start", strict=True)


def roll_up_rules(
    measure: str, functions: Sequence[str], *, count: str | None, events: str | None
) -> Iterator[Rule]:
    """Rules of the columns ``<measure>_<function>`` that summarise one measure.

    Args:
        measure: what the columns' names begin with.
        functions: what they end with, of ``min``, ``max``, ``mean`` and ``last``.
        count: column of the number of values that they summarise.
        events: column of the number of events, with and without a value.
    """
    for function in functions:
        rounding = function == "mean"
        if function != "min":
            yield NotBelow(f"{measure}_{function}", f"{measure}_min", rounding=rounding)
        if function not in {"min", "max"}:
            yield NotBelow(f"{measure}_max", f"{measure}_{function}", rounding=rounding)
        if count is not None and function in {"mean", "last"}:
            yield Counted(f"{measure}_{function}", count)
    if events is not None and count is not None:
        yield NotBelow(events, count)
