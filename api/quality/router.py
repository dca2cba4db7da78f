"""Routes about data quality."""

from functools import partial
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from api.catalog import Reader
from api.problems import ProblemError, problem_responses
from api.quality.schemas import QualitySummary
from api.quality.service import read_quality, read_report
from api.query_parameters import OnlyKnownParameters
from api.security import ForbiddenError, RequiresKey, SentKey
from api.tables.dependencies import VisibleTable
from contracts import all_tables, quality_results

router = APIRouter(prefix="/v1/quality", tags=["Quality"], dependencies=[RequiresKey, OnlyKnownParameters])
ALONE = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
"""The report needs nothing from elsewhere, and runs nothing."""

Days = Annotated[int, Query(ge=1, le=366, description="How far back, in days")]
PROBLEMS = problem_responses(
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.SERVICE_UNAVAILABLE,
)


class NoReportError(ProblemError):
    """The report was not written yet."""

    def __init__(self) -> None:
        super().__init__(
            HTTPStatus.NOT_FOUND,
            "there is no report yet: Dagster's job quality_report writes it once an hour, or when it is launched",
        )


@router.get("", summary="What do the checks of all tables say?", responses=PROBLEMS)
async def quality(reader: Reader, key: SentKey, days: Days = 7) -> QualitySummary:
    """Of each table that the key is for: what each check said last, and how many passed, warned and failed by day.

    Dagster's job `quality_report` keeps the evaluations once an hour.
    """
    table = await reader.table(quality_results().identifier)
    return await reader.read(partial(read_quality, table, days=days, shown=key.may_see))


@router.get(
    "/report",
    summary="The report",
    response_class=HTMLResponse,
    responses={**PROBLEMS, HTTPStatus.OK: {"content": {"text/html": {}}}},
)
async def report(request: Request, reader: Reader, key: SentKey) -> HTMLResponse:
    """The checks of all tables as a page with plots of the last thirty days; for keys that are for all tables."""
    for declared in all_tables():
        if not key.may_see(declared.identifier):
            raise ForbiddenError(key, None, declared.identifier)
    state = request.app.state
    content = await reader.read(partial(read_report, state.store, state.settings.report_location))
    if content is None:
        raise NoReportError
    return HTMLResponse(content, headers=ALONE)


@router.get("/{identifier}", summary="What do the checks of a table say?", responses=PROBLEMS)
async def quality_of_table(table: VisibleTable, reader: Reader, days: Days = 7) -> QualitySummary:
    """As `GET /v1/quality`, of one table."""
    results = await reader.table(quality_results().identifier)
    return await reader.read(
        partial(read_quality, results, days=days, shown=lambda name: name == table.identifier)
    )
