"""Spark SQL of ``gold.city_hourly``, generated from its contract."""

from collections.abc import Mapping

from contracts import Aggregate, Column, ContractError, Table, families, gold_hourly
from lakehouse_assets.gold.recipe import Input, Recipe, column_list, union

AGGREGATES = {
    Aggregate.COUNT: "count({0})",
    Aggregate.SUM: "sum({0})",
    Aggregate.MIN: "min({0})",
    Aggregate.MAX: "max({0})",
    # a mean that is null stands for no value, and its weight is zero
    Aggregate.WEIGHTED_MEAN: "sum({0} * {1}) / sum({1}) FILTER (WHERE {1} > 0)",
}
GROUP = ("zone", "window_start", "window_end")


def city_recipe(declared: Table) -> Recipe:
    """``gold.city_hourly`` from the hourly tables of all families."""
    views = {gold_hourly(family).identifier: f"{family.name}_hours" for family in families()}
    needed = _needed(declared)
    inputs = tuple(
        Input(hourly, views[hourly.identifier], (*GROUP, *needed[hourly.identifier]))
        for hourly in map(gold_hourly, families())
    )
    return Recipe(declared, inputs, lambda _start, _end: city_query(declared, views))


def city_query(declared: Table, views: Mapping[str, str]) -> str:
    """Aggregate the views of the hourly tables, by identifier, to the rows of ``declared``.

    The rows of all tables are put below each other, each with the columns of its own table and nulls for those
    of the others; aggregates leave nulls out.
    """
    needed = _needed(declared)
    every = [_alias(identifier, name) for identifier, names in needed.items() for name in names]
    parts = []
    for identifier, names in needed.items():
        own = {_alias(identifier, name): name for name in names}
        values = ", ".join(f"{own[alias]} AS {alias}" if alias in own else f"NULL AS {alias}" for alias in every)
        parts.append(f"SELECT {', '.join(GROUP)}, {values} FROM {views[identifier]}")  # noqa: S608
    expressions = {name: name for name in GROUP} | {
        column.name: _expression(declared, column) for column in declared.columns if column.name not in GROUP
    }
    return f"""
SELECT
  {column_list(declared, expressions)}
FROM (
{union(parts)}
)
GROUP BY {", ".join(GROUP)}
"""  # noqa: S608


def _needed(declared: Table) -> dict[str, tuple[str, ...]]:
    """Columns of each upstream table that the contract names, by the table's identifier."""
    found: dict[str, dict[str, None]] = {identifier: {} for identifier in declared.derived_from}
    for column in declared.columns:
        if (origin := column.aggregation) is not None and origin.table is not None:
            found[origin.table] |= dict.fromkeys(filter(None, (origin.column, origin.weight)))
    return {identifier: tuple(names) for identifier, names in found.items()}


def _alias(identifier: str, column: str) -> str:
    return f"{identifier.rpartition('.')[2]}__{column}"


def _expression(declared: Table, column: Column) -> str:
    origin = column.aggregation
    if origin is None or origin.table is None:
        raise ContractError(f"{declared.identifier}.{column.name} does not say which table it comes from")
    names = [_alias(origin.table, name) for name in (origin.column, origin.weight) if name is not None]
    return AGGREGATES[origin.function].format(*names)
