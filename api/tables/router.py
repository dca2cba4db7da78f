"""Routes that say which tables there are and what each is."""

from http import HTTPStatus

from fastapi import APIRouter

from api.catalog import Reader
from api.problems import problem_responses
from api.query_parameters import OnlyKnownParameters
from api.security import RequiresKey
from api.tables.dependencies import VisibleTable, VisibleTables
from api.tables.schemas import TableDetail, TableList
from api.tables.service import describe_table, list_tables
from api.tables.states import States

router = APIRouter(prefix="/v1/tables", tags=["Tables"], dependencies=[RequiresKey, OnlyKnownParameters])


@router.get(
    "",
    summary="List the tables",
    responses=problem_responses(HTTPStatus.UNAUTHORIZED, HTTPStatus.UNPROCESSABLE_ENTITY),
)
async def tables_list(tables: VisibleTables, reader: Reader, states: States) -> TableList:
    """Every table that the key is for: columns with units, rows, how far its events reach, what its checks say.

    Answers also while the catalog is down; `catalog_reachable` is then false and the state is null.
    """
    return await list_tables(tables.values(), reader, states)


@router.get(
    "/{identifier}",
    summary="Describe a table",
    responses=problem_responses(
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
)
async def table_detail(table: VisibleTable, reader: Reader, states: States) -> TableDetail:
    """One table in full: columns, partitioning, sort order, what it is derived from, its current snapshot."""
    return await describe_table(table, reader, states)
