"""Spark SQL of a window table, generated from its contract."""

from contracts import Aggregate, Aggregation, Column, ContractError, Table
from contracts.tables import EVENT_COLUMNS, KAFKA_COLUMNS
from lakehouse_assets.gold.recipe import Input, Recipe

EVENTS = "events"
AGGREGATES = {
    Aggregate.COUNT: "count({0})",
    Aggregate.MIN: "min({0})",
    Aggregate.MAX: "max({0})",
    Aggregate.MEAN: "avg({0})",
    # of two readings of the same instant the later arrival stands
    Aggregate.LAST: (
        "max_by({0}, struct(event_time, kafka_offset, kafka_partition)) FILTER (WHERE {0} IS NOT NULL)"
    ),
    Aggregate.INCREASE: "sum({0}_step)",
}
STEP = """,
    CASE WHEN {0} < {0}_before THEN {0} ELSE {0} - {0}_before END AS {0}_step"""
"""Growth of a counter since the reading before; one that fell was reset, and has grown from zero."""
BEFORE = """,
      lag({0}) IGNORE NULLS OVER (
        PARTITION BY sensor_id, to_date(event_time) ORDER BY event_time, kafka_offset, kafka_partition
      ) AS {0}_before"""
IDENTITY_COLUMNS = (
    *(column.name for column in EVENT_COLUMNS if not column.nullable),
    *(column.name for column in KAFKA_COLUMNS if column.name != "kafka_time"),
)
"""What tells an event and its copies apart."""


def windows_recipe(declared: Table, upstream: Table) -> Recipe:
    """A window table from the events of the same days."""
    needed = (c.aggregation.column for c in declared.columns if c.aggregation is not None)
    columns = tuple(dict.fromkeys((*IDENTITY_COLUMNS, *needed)))
    return Recipe(
        declared, (Input(upstream, EVENTS, columns),), lambda _start, _end: windows_query(declared, EVENTS)
    )


def windows_query(declared: Table, events: str) -> str:
    """Aggregate the view ``events`` to the rows of ``declared``.

    Of the copies of an event, which share ``event_id``, the first to arrive counts. Copies, and the reading before
    that of a counter, are looked for within a day, so that a day's result does not depend on which other days are
    computed with it.

    Raises:
        ContractError: ``declared`` is no window table, or has a column that says nothing of its origin.
    """
    if declared.tile is None:
        raise ContractError(f"table {declared.identifier} has no tile: its rows are not windows")
    columns = ",\n  ".join(f"{_expression(declared, column)} AS {column.name}" for column in declared.columns)
    seconds = int(declared.tile.total_seconds())
    counters = [
        column.aggregation.column
        for column in declared.columns
        if column.aggregation is not None and column.aggregation.function is Aggregate.INCREASE
    ]
    steps, before = ("".join(map(part.format, counters)) for part in (STEP, BEFORE))
    return f"""
SELECT
  {columns}
FROM (
  SELECT *{steps} FROM (
    SELECT *{before} FROM (
      SELECT *, row_number() OVER (
        PARTITION BY event_id, to_date(event_time) ORDER BY kafka_partition, kafka_offset
      ) AS copy
      FROM {events}
    )
    WHERE copy = 1
  )
)
GROUP BY {", ".join(_group_columns(declared))}, window(event_time, '{seconds} seconds')
"""  # noqa: S608


def _group_columns(declared: Table) -> tuple[str, ...]:
    return tuple(name for name in declared.key if name != declared.event_time)


def _expression(declared: Table, column: Column) -> str:
    match column:
        case Column(aggregation=Aggregation(function, source)):
            return AGGREGATES[function].format(source)
        case Column(name="window_start"):
            return "window.start"
        case Column(name="window_end"):
            return "window.end"
        case Column(name=name) if name in _group_columns(declared):
            return name
    raise ContractError(f"{declared.identifier}.{column.name} has neither an aggregation nor a place in the key")
