"""Routes for windows: one per family, so that each has its own model."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, cast

from fastapi import APIRouter, Query, Response

from api.caching.caches import Remembered
from api.catalog import Reader
from api.encoded import EncodedResponse
from api.latest.dependencies import HotView, UnknownFamilyError
from api.problems import InvalidParameter, InvalidParametersError, problem_responses
from api.query_parameters import OnlyKnownParameters
from api.rows.filters import parse_value
from api.rows.formats import json_bytes
from api.rows.query_string import optional
from api.security import RequiresKey, requires
from api.tables.states import States
from api.windows.schemas import windows_model
from api.windows.service import WindowsQuery, find_windows
from contracts import ColumnType, Family, silver_5m
from contracts.tables import SLIDE
from resources.api_keys import Action

DEFAULT_LIMIT = 100
DEFAULT_SPAN = timedelta(hours=1)


def windows_router(families: Iterable[Family], *, max_rows: int) -> APIRouter:
    """Make the routes for the windows of ``families``; include it after all other routes below ``/v1``."""
    router = APIRouter(prefix="/v1", tags=["Windows"], dependencies=[RequiresKey, OnlyKnownParameters])
    known = {family.name: family for family in families}
    for family in known.values():
        _add_route(router, family, max_rows)

    @router.get("/{name}/windows", include_in_schema=False)
    async def unknown_family(name: str) -> None:
        """Answer for a family that has no route of its own."""
        raise UnknownFamilyError(name, known)

    return router


def _add_route(router: APIRouter, family: Family, max_rows: int) -> None:
    async def family_windows(
        reader: Reader,
        caches: Remembered,
        states: States,
        view: HotView,
        *,
        zone: Annotated[
            str | None,
            Query(description="Only this zone; all if left out", examples=[*family.zones[:1]], max_length=512),
        ] = None,
        since: Annotated[
            str | None,
            Query(
                alias="from",
                description="Earliest `window_start`, inclusive. RFC 3339; an hour ago if left out",
                examples=["2026-03-01T08:00:00Z"],
            ),
        ] = None,
        until: Annotated[
            str | None,
            Query(
                alias="to",
                description="End of the range of `window_start`, exclusive. RFC 3339",
                examples=["2026-03-01T09:00:00Z"],
            ),
        ] = None,
        limit: Annotated[int, Query(ge=1, le=max_rows, description="Most windows to return")] = min(
            DEFAULT_LIMIT, max_rows
        ),
    ) -> Response:
        errors: list[InvalidParameter] = []
        query = WindowsQuery(
            zone=zone,
            since=optional(errors, "from", since, _instant) or _an_hour_ago(),
            until=optional(errors, "to", until, _instant),
            limit=limit,
        )
        if errors:
            raise InvalidParametersError(errors)
        envelope, headers = await find_windows(reader, caches, states, view, family=family, query=query)
        return EncodedResponse(json_bytes(envelope), headers, media_type="application/json")

    router.add_api_route(
        f"/{family.name}/windows",
        family_windows,
        name=f"{family.name}_windows",
        summary=f"Windows of {family.name} by zone, finished and running",
        description="Five-minute windows, one each minute, the newest first. The finished ones come from "
        f"`{silver_5m(family).identifier}`, those that end after its latest one from the hot view, with what has "
        "come so far: up to the one that ends with the newest minute. No window comes twice, and `source` says "
        "which it is. Events without a zone are in finished windows alone. While Redis is down, `live` is false "
        "and the finished windows are answered. `reaches`, `freshness_ms` and `quality` are those of the "
        "finished ones.",
        response_model=windows_model(family),
        response_description="The windows",
        responses=problem_responses(
            HTTPStatus.UNAUTHORIZED,
            HTTPStatus.FORBIDDEN,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            HTTPStatus.SERVICE_UNAVAILABLE,
        ),
        dependencies=[requires(Action.READ, silver_5m(family).identifier)],
    )


def _an_hour_ago() -> datetime:
    """Rounded up to a minute, as windows begin with one: what is asked for in that minute is the same."""
    return (datetime.now(UTC) - DEFAULT_SPAN + SLIDE - timedelta.resolution).replace(second=0, microsecond=0)


def _instant(text: str) -> datetime:
    return cast(datetime, parse_value(ColumnType.TIMESTAMP, text))
