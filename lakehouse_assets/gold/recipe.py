"""What a gold table is computed from: which columns and days of which tables, and the SQL over them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from contracts import Table

SAME_DAY = (0,)
"""Of an input: the days that are computed, and no others."""


@dataclass(frozen=True, slots=True)
class Input:
    """What is read of one table, as the view ``view``.

    ``days_back`` says which days: 0 is the day that is computed, 7 the same day of the week before.
    """

    table: Table
    view: str
    columns: tuple[str, ...]
    days_back: tuple[int, ...] = SAME_DAY

    def query(self, source: str, start: datetime, end: datetime) -> str:
        """Select from ``source``, the table at one snapshot, what computing ``[start, end)`` needs."""
        ranges = [
            (start - timedelta(days=back), end - timedelta(days=back))
            for back in sorted(self.days_back, reverse=True)
        ]
        condition = " OR ".join(
            f"({time_range(self.table.event_time, first, last)})" for first, last in _joined(ranges)
        )
        return f"SELECT {', '.join(self.columns)} FROM {source} WHERE {condition}"  # noqa: S608


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the days of ``declared`` are computed from ``inputs``.

    ``query`` writes the SQL that computes ``[start, end)``, two midnights in UTC, from the views of the inputs.
    ``version`` is raised where the same inputs are to give other rows. ``steady``: a day has about as many rows as
    the days around it.
    """

    declared: Table
    inputs: tuple[Input, ...]
    query: Callable[[datetime, datetime], str]
    version: str = "1"
    steady: bool = True


def time_range(column: str, start: datetime, end: datetime) -> str:
    """Condition that ``column`` lies in ``[start, end)``."""
    return f"{column} >= {timestamp(start)} AND {column} < {timestamp(end)}"


def time_filter(column: str, start: datetime, end: datetime) -> str:
    """The same as PyIceberg reads it."""
    return f"{column} >= '{start.isoformat()}' and {column} < '{end.isoformat()}'"


def timestamp(instant: datetime) -> str:
    """An instant as Spark SQL writes it."""
    return f"TIMESTAMP '{instant.isoformat(sep=' ')}'"


def column_list(declared: Table, expressions: dict[str, str]) -> str:
    """The select list of ``declared``, in the order of its columns.

    Raises:
        KeyError: a column has no expression.
    """
    return ",\n  ".join(f"{expressions[column.name]} AS {column.name}" for column in declared.columns)


def union(queries: Iterable[str]) -> str:
    """All rows of all queries, which have the same columns in the same order."""
    return "\nUNION ALL\n".join(queries)


def _joined(ranges: Sequence[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    """Ranges in order of their start, those that meet or overlap made one."""
    joined = [ranges[0]]
    for first, last in ranges[1:]:
        if first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined
