"""Probes for supervisors; they need no key and tell nothing that needs one."""

from http import HTTPStatus

from fastapi import APIRouter

from api.catalog import Reader
from api.health.schemas import Live, Ready
from api.health.service import readiness
from api.problems import problem_responses
from api.tables.dependencies import ServedTables

router = APIRouter(prefix="/health", tags=["Health"])


@router.get("/live", summary="Does the process run?")
async def live() -> Live:
    """Always 200: asks nothing of any other service. No key needed."""
    return Live()


@router.get(
    "/ready",
    summary="Can the service answer?",
    responses=problem_responses(HTTPStatus.SERVICE_UNAVAILABLE),
)
async def ready(tables: ServedTables, reader: Reader) -> Ready:
    """200 when the catalog answers and has every table, else 503 with the reasons. No key needed."""
    return await readiness(tuple(tables.values()), reader)
