"""Aggregates of window tables in DuckDB's SQL, written from the contract alone, and how two results are compared.

What an engine has computed is held against these: they share nothing with the SQL of Flink or Spark.
"""

from contracts import Aggregate, Aggregation, Column

TOLERANCE = 1e-9
"""Relative; a sum of floating-point numbers depends on their order."""

SUMMED = frozenset({Aggregate.MEAN, Aggregate.INCREASE})


def aggregate(aggregation: Aggregation, order: str) -> str:
    """SQL of the aggregate over rows whose columns are those of an event; ``order`` is what the last is last by.

    The growth of a counter is the sum of a column ``<counter>_growth``.

    Raises:
        ValueError: an event has no such aggregate.
    """
    name = aggregation.column
    match aggregation.function:
        case Aggregate.COUNT:
            return f"count({name})"
        case Aggregate.MIN:
            return f"min({name})"
        case Aggregate.MAX:
            return f"max({name})"
        case Aggregate.MEAN:
            return f"avg({name}::DOUBLE)"
        case Aggregate.LAST:
            return f"last({name} ORDER BY {order}) FILTER ({name} IS NOT NULL)"
        case Aggregate.INCREASE:
            return f"sum({name}_growth)"
        case Aggregate.SUM | Aggregate.WEIGHTED_MEAN:
            raise ValueError(f"{aggregation.function} of {name} is no aggregate of events")


def differs(column: Column) -> str:
    """Condition that ``column`` is not the same in the rows ``e`` (expected) and ``f`` (found)."""
    expected, found = f"e.{column.name}", f"f.{column.name}"
    different = f"{expected} IS DISTINCT FROM {found}"
    if column.aggregation is not None and column.aggregation.function in SUMMED:
        off = f"abs({expected} - {found}) <= {TOLERANCE} * greatest(1, abs({expected}))"
        return f"{different} AND ({off}) IS NOT TRUE"
    return different
