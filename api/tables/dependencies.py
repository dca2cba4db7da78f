"""Finding the table that a request is about."""

import difflib
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Path, Request

from api.problems import ProblemError
from api.security import ForbiddenError, SentKey
from contracts import Table


class UnknownTableError(ProblemError):
    """No table of that name is served."""

    def __init__(self, identifier: str, known: Mapping[str, Table]) -> None:
        # closest first; the name alone, so that a wrong namespace does not hide the table
        near = sorted(
            known, key=lambda other: difflib.SequenceMatcher(None, identifier, other).ratio(), reverse=True
        )
        super().__init__(
            HTTPStatus.NOT_FOUND,
            f"there is no table {identifier[:80]!r}: did you mean {', '.join(near[:3])}? "
            "GET /v1/tables lists them all",
        )


async def _served_tables(request: Request) -> Mapping[str, Table]:
    tables: Mapping[str, Table] = request.app.state.tables
    return tables


ServedTables = Annotated[Mapping[str, Table], Depends(_served_tables)]


async def _served_table(
    identifier: Annotated[
        str,
        Path(description="`namespace.table`", openapi_examples={"bronze": {"value": "bronze.traffic_events"}}),
    ],
    tables: ServedTables,
) -> Table:
    if identifier not in tables:
        raise UnknownTableError(identifier, tables)
    return tables[identifier]


ServedTable = Annotated[Table, Depends(_served_table)]
"""The contract of the table in the path; answers 404 if there is none."""


async def _visible_table(request: Request, table: ServedTable, key: SentKey) -> Table:
    request.state.access = ("describe", table.identifier)
    if not key.may_see(table.identifier):
        raise ForbiddenError(key, None, table.identifier)
    return table


VisibleTable = Annotated[Table, Depends(_visible_table)]
"""As :data:`ServedTable`; answers 403 if the key is not for that table."""


async def _visible_tables(tables: ServedTables, key: SentKey) -> Mapping[str, Table]:
    return {identifier: table for identifier, table in tables.items() if key.may_see(identifier)}


VisibleTables = Annotated[Mapping[str, Table], Depends(_visible_tables)]
"""The tables that the key is for."""
