"""Finds days of a window table on which no sensor measured anything that it can have measured."""

from collections.abc import Iterator
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from contracts import Aggregate, Column, Table


def days_of_bad_rows(declared: Table, rows: pa.Table) -> list[date]:
    """Days, in UTC, on which each row has a measure whose values were all above, or all below, its valid range.

    One such row is a sensor that is broken; nothing else all day is a unit or a contract that is wrong. Rows
    without any value say nothing. Tables that do not have the smallest and the largest value of a measure have no
    such day.
    """
    never = pa.nulls(rows.num_rows, pa.bool_()).fill_null(False)
    bad, valued = never, never
    for smallest, largest in _measures(declared):
        valued = pc.or_(valued, pc.is_valid(rows[smallest.name]))
        if smallest.maximum is not None:
            bad = pc.or_(bad, pc.greater(rows[smallest.name], smallest.maximum).fill_null(False))
        if largest.minimum is not None:
            bad = pc.or_(bad, pc.less(rows[largest.name], largest.minimum).fill_null(False))
    judged = pa.table({"day": rows[declared.event_time].cast(pa.date32()), "bad": bad}).filter(valued)
    found = judged.group_by("day").aggregate([("bad", "all")]).to_pylist()
    return sorted(day["day"] for day in found if day["bad_all"])


def _measures(declared: Table) -> Iterator[tuple[Column, Column]]:
    """The columns of the smallest and the largest value of each measure."""
    by_origin = {
        (column.aggregation.function, column.aggregation.column): column
        for column in declared.columns
        if column.aggregation is not None
    }
    for (function, name), smallest in by_origin.items():
        if function is Aggregate.MIN and (largest := by_origin.get((Aggregate.MAX, name))) is not None:
            yield smallest, largest
