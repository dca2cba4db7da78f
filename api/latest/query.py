"""Questions for the newest rows of a table, as the service asks them itself."""

from collections.abc import Iterable, Sequence
from functools import reduce

from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression

from api.rows.dependencies import RowQuery
from api.rows.formats import Format
from contracts import Table


def newest_first(
    declared: Table,
    filters: Iterable[BooleanExpression],
    *,
    order: Sequence[str],
    then: Sequence[str] = (),
    limit: int,
) -> RowQuery:
    """Ask for all columns of the first ``limit`` rows by ``order`` downwards, ``then`` upwards."""
    everything: BooleanExpression = AlwaysTrue()
    return RowQuery(
        table=declared,
        columns=tuple(column.name for column in declared.columns),
        order=(*((name, "descending") for name in order), *((name, "ascending") for name in then)),
        limit=limit,
        row_filter=reduce(And, filters, everything),
        as_of=None,
        cursor=None,
        format=Format.JSON,
        sent=(),
    )
