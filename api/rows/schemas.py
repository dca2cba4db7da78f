"""Models of rows, made from the contracts."""

from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ConfigDict, Field, create_model
from pydantic.config import JsonDict

from api.tables.states import StateFields
from contracts import Column, ColumnType, Table, families

PYTHON_TYPES: dict[ColumnType, type] = {
    ColumnType.STRING: str,
    ColumnType.BOOLEAN: bool,
    ColumnType.INT: int,
    ColumnType.LONG: int,
    ColumnType.DOUBLE: float,
    ColumnType.TIMESTAMP: datetime,
}
"""Of the columns of served tables; none of those is binary."""

EXAMPLE_TIME = datetime(2026, 3, 1, 8, tzinfo=UTC)


STATE_EXAMPLE: JsonDict = {"reaches": "2026-03-01T08:00:59.5Z", "freshness_ms": 12_250, "quality": "passed"}


class SnapshotAnswer(StateFields):
    """What is read of a table, all from one snapshot."""

    table: str = Field(description="`namespace.table`")
    snapshot_id: str | None = Field(
        description="Iceberg snapshot of the rows, a 64-bit number as text; null while nothing was written"
    )
    committed_at: datetime | None = Field(description="When that snapshot was committed")
    columns: list[str] = Field(description="Columns of each row, in order")
    row_count: int = Field(description="Number of rows in this answer")
    has_more: bool = Field(description="Whether there are more than `limit` let through")


class RowsAnswer(SnapshotAnswer):
    """Rows of a table."""

    next_cursor: str | None = Field(
        description="Send it as `cursor` for the next page; null without `order`, and on the last page"
    )
    rows: list[Any]


def rows_model(table: Table) -> type[RowsAnswer]:
    """Make the model of an answer with rows of ``table``."""
    title = "".join(part.capitalize() for part in table.identifier.replace(".", "_").split("_"))
    fields: dict[str, Any] = {column.name: _field(column) for column in table.columns}
    row = create_model(
        f"{title}Row",
        __config__=ConfigDict(extra="forbid"),
        __doc__=f"{table.description}. A row has the columns that were asked for.",
        **fields,
    )
    example: JsonDict = {
        "table": table.identifier,
        "snapshot_id": "6218345912345678901",
        "committed_at": _instant(EXAMPLE_TIME + timedelta(minutes=1)),
        **STATE_EXAMPLE,
        "columns": [column.name for column in table.columns],
        "row_count": 1,
        "has_more": True,
        "next_cursor": "WzEsNjIxODM0NTkxMjM0NTY3ODkwMSwiYjdlIixbXV0",
        "rows": [example_row(table)],
    }
    answer = create_model(
        f"{title}Rows",
        __base__=RowsAnswer,
        __doc__=f"Rows of {table.identifier}, all from one snapshot.",
        rows=(list[row], Field(description="The rows")),
    )
    answer.model_config["json_schema_extra"] = {"examples": [example]}
    return answer


def example_row(table: Table) -> JsonDict:
    """Return a plausible row of ``table`` as it stands in JSON."""
    return {column.name: _example(table, column) for column in table.columns}


def column_description(column: Column) -> str:
    """Meaning of ``column`` with its unit and valid range."""
    unit = "" if column.unit is None else f" [{column.unit}]"
    limits = {"from": column.minimum, "to": column.maximum}
    valid = " ".join(f"{word} {limit:g}" for word, limit in limits.items() if limit is not None)
    return f"{column.meaning}{unit}" + (f"; valid {valid}" if valid else "")


def _field(column: Column) -> tuple[Any, Any]:
    type_: Any = PYTHON_TYPES[column.type]
    return (
        type_ | None if column.nullable else type_,
        # a default, because a column that was not asked for is left out
        Field(
            default=None,
            description=column_description(column),
            json_schema_extra={} if column.unit is None else {"x-unit": column.unit},
        ),
    )


def _instant(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


def _example(table: Table, column: Column) -> str | float | bool:
    match column.type:
        case ColumnType.STRING if column.name == "zone":
            return families()[0].zones[0]
        case ColumnType.STRING:
            return f"{table.family}-0042"
        case ColumnType.BOOLEAN:
            return True
        case ColumnType.TIMESTAMP if column.name == table.event_time:
            return _instant(EXAMPLE_TIME)
        case ColumnType.TIMESTAMP:
            return _instant(EXAMPLE_TIME + (table.tile or timedelta(seconds=1)))
    value = 21.5 if column.type is ColumnType.DOUBLE else 42
    if column.minimum is not None:
        value = max(value, column.minimum)
    if column.maximum is not None:
        value = min(value, column.maximum)
    return value
