"""The filter parameters of a table in OpenAPI."""

from typing import Any

from api.rows.bounding_box import has_places
from api.rows.filters import Operator, operators_of
from api.rows.schemas import column_description, example_row
from contracts import Column, ColumnType, Table

JSON_TYPES: dict[ColumnType, dict[str, str]] = {
    ColumnType.STRING: {"type": "string"},
    ColumnType.BOOLEAN: {"type": "boolean"},
    ColumnType.INT: {"type": "integer", "format": "int32"},
    ColumnType.LONG: {"type": "integer", "format": "int64"},
    ColumnType.DOUBLE: {"type": "number", "format": "double"},
    ColumnType.TIMESTAMP: {"type": "string", "format": "date-time"},
}


def filter_documentation(table: Table) -> list[dict[str, Any]]:
    """Describe all parameters that filter ``table``.

    Each column is a parameter of its own. Its forms with an operator are the properties of one exploded object,
    which is OpenAPI's way to say many parameters at once; alone they would be ten times as many.
    """
    example = example_row(table)
    equal = [
        {
            "name": column.name,
            "in": "query",
            "required": False,
            "description": f"Only rows where this column is equal to the value. {column_description(column)}",
            "schema": {**JSON_TYPES[column.type], "examples": [example[column.name]]},
        }
        for column in table.columns
    ]
    properties = {
        f"{column.name}__{operator}": _operator_schema(column, operator)
        for column in table.columns
        for operator in operators_of(column)
    }
    return [
        _time_bound("from", f"Earliest `{table.event_time}`, inclusive.", "2026-03-01T08:00:00Z"),
        _time_bound("to", f"End of the range of `{table.event_time}`, exclusive.", "2026-03-01T09:00:00Z"),
        *([_bounding_box()] if has_places(table) else []),
        *equal,
        {
            "name": "filters",
            "in": "query",
            "required": False,
            "style": "form",
            "explode": True,
            "description": "Only rows for which `column__operator=value` holds; all given filters must hold. "
            "`eq` equal, `ne` not equal, `lt` less, `le` less or equal, `gt` greater, `ge` greater or equal, `in` "
            "one of several values separated by commas, `between` two values, both inclusive, `is_null` true or "
            "false. `like` is how a text begins, with `%` after it (`Old%`), and no other pattern, as files are "
            "chosen by how their values begin; `\\%`, `\\_` and `\\\\` are the characters themselves. Rows "
            "without a value match only `is_null=true`. The name `filters` itself is not sent: each property is a "
            "parameter.",
            "schema": {"type": "object", "additionalProperties": False, "properties": properties},
            "example": {
                f"{table.event_time}__ge": "2026-03-01T08:00:00Z",
                f"{_chosen(table)}__in": "centre,harbour",
            },
        },
    ]


def _chosen(table: Table) -> str:
    """The column of text that people mostly choose rows by."""
    names = [column.name for column in table.columns if column.type is ColumnType.STRING]
    return "zone" if "zone" in names else names[0]


def _bounding_box() -> dict[str, Any]:
    return {
        "name": "bbox",
        "in": "query",
        "required": False,
        "description": "Only rows of places in this box: `west,south,east,north` in degrees of WGS 84, its edges "
        "included (RFC 7946, section 5). A west that is greater than the east crosses the antimeridian.",
        "schema": {"type": "string", "examples": ["13.3,52.4,13.5,52.6"]},
    }


def _time_bound(name: str, meaning: str, example: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": f"{meaning} RFC 3339",
        "schema": {**JSON_TYPES[ColumnType.TIMESTAMP], "examples": [example]},
    }


def _operator_schema(column: Column, operator: Operator) -> dict[str, str]:
    if operator is Operator.IS_NULL:
        return {"type": "boolean"}
    of_text = operator in {Operator.IN, Operator.BETWEEN, Operator.LIKE}
    return {"type": "string"} if of_text else JSON_TYPES[column.type]
