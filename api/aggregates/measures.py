"""What may be aggregated, as the query string says it: ``count``, ``avg(column)``, ``p95(column)`` and so on."""

import re
from dataclasses import dataclass
from datetime import timedelta

from api.rows.query_string import known_column
from contracts import ColumnType, Table

NUMBERS = (ColumnType.INT, ColumnType.LONG, ColumnType.DOUBLE)

FUNCTIONS = {
    "count": "count({0})",
    "sum": "sum({0})",
    "min": "min({0})",
    "max": "max({0})",
    "avg": "avg({0})",
    "last": "arg_max({0}, {1})",
}
"""In DuckDB's SQL; ``{1}`` is the table's event time, so that the last value is of the newest row with one."""

_MEASURE = re.compile(r"([a-z]+)\((\w+)\)", re.ASCII)
_QUANTILE = re.compile(r"p(\d{1,2}(?:\.\d{1,3})?)\((\w+)\)", re.ASCII)
_BUCKET = re.compile(r"([1-9]\d{0,3})([smhd])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True)
class Measure:
    """A column of the answer: its name, and the SQL of it."""

    name: str
    sql: str
    column: str | None


COUNT = Measure("count", "count(*)", None)
"""Of rows, whatever is in them."""


def parse_measure(table: Table, text: str) -> Measure:
    """Read one measure of ``table``.

    Raises:
        ValueError: it is none; the message says what is.
    """
    if text == "count":
        return COUNT
    if match := _QUANTILE.fullmatch(text):
        percent, name = match.groups()
        column = _number(table, name, "a quantile")
        share = float(percent) / 100
        return Measure(f"p{percent}_{name}", f'quantile_cont("{column}", {share!r})', column)
    match = _MEASURE.fullmatch(text)
    if match is None or match[1] not in FUNCTIONS:
        raise ValueError(
            f"{text[:80]!r} is no measure: write count, {', '.join(f'{each}(column)' for each in FUNCTIONS)}, "
            "or a quantile like p95(column)"
        )
    function, name = match.groups()
    column = _number(table, name, function) if function in {"sum", "avg"} else known_column(table, name)
    sql = FUNCTIONS[function].format(f'"{column}"', f'"{table.event_time}"')
    if function == "sum" and table.column(column).type is not ColumnType.DOUBLE:
        # DuckDB's sum of whole numbers has 128 bits, which JSON's readers do not
        sql = f"CAST({sql} AS BIGINT)"
    return Measure(f"{function}_{name}", sql, column)


def parse_bucket(text: str) -> timedelta:
    """Read the width of a bucket of time, like ``15m``, ``1h`` or ``7d``.

    Raises:
        ValueError: it is none.
    """
    match = _BUCKET.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:80]!r} is no width: write 30s, 15m, 1h or 7d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _number(table: Table, name: str, what: str) -> str:
    if table.column(known_column(table, name)).type not in NUMBERS:
        numbers = [column.name for column in table.columns if column.type in NUMBERS]
        raise ValueError(f"{what} needs a number, which {name!r} is not: choose from {', '.join(numbers)}")
    return name
