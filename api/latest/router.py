"""Routes for live values: one set per family, so that each has its own models."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from api.latest.age import age, age_headers
from api.latest.dependencies import Feed, HotView, NoReadingError, UnknownFamilyError, hot_view_errors
from api.latest.events import HEARTBEAT_S, EventFilter, EventKind, EventStream
from api.latest.schemas import latest_model, latest_problems, reading_model
from api.latest.service import latest_entry, latest_of_family
from api.query_parameters import OnlyKnownParameters
from api.security import RequiresKey, requires
from contracts import Family, bronze_events, silver_5m
from resources.api_keys import Action
from resources.hot_view import document, event_time

DEFAULT_LIMIT = 100
JSON = "application/json"


def latest_router(families: Iterable[Family], *, max_rows: int) -> APIRouter:
    """Make the routes for the live values of ``families``; include it after all other routes below ``/v1``."""
    router = APIRouter(prefix="/v1", tags=["Live values"], dependencies=[RequiresKey, OnlyKnownParameters])
    known = {family.name: family for family in families}
    for family in known.values():
        _add_sensor_route(router, family)
        _add_family_route(router, family, max_rows)
        _add_stream_route(router, family)

    @router.get("/{name}/latest", include_in_schema=False)
    @router.get("/{name}/stream", include_in_schema=False)
    @router.get("/{name}/sensors/{sensor_id}/latest", include_in_schema=False)
    async def unknown_family(name: str) -> None:
        """Answer for a family that has no routes of its own."""
        raise UnknownFamilyError(name, known)

    return router


def _add_sensor_route(router: APIRouter, family: Family) -> None:
    async def sensor_latest(
        sensor_id: Annotated[
            str, Path(description="Identifier of the sensor", examples=[f"{family.name}-0042"], max_length=512)
        ],
        view: HotView,
    ) -> Response:
        async with hot_view_errors():
            entry = await latest_entry(view, family.name, sensor_id)
        if entry is None:
            raise NoReadingError(family, sensor_id)
        return Response(document(entry), headers=age_headers(age(event_time(entry))), media_type=JSON)

    router.add_api_route(
        f"/{family.name}/sensors/{{sensor_id}}/latest",
        sensor_latest,
        name=f"{family.name}_sensor_latest",
        summary=f"Newest reading of a {family.name} sensor",
        description="The event with the greatest event time that the sensor has sent, as soon as it is read: some "
        f"milliseconds after it was published. A sensor that has been silent for {_minutes(family)} has none.",
        response_model=reading_model(family),
        response_description="The reading",
        responses=latest_problems(family, not_found=True),
        dependencies=[_shows_events(family)],
    )


def _add_family_route(router: APIRouter, family: Family, max_rows: int) -> None:
    async def family_latest(
        view: HotView,
        zone: Annotated[
            str | None, Query(description="Only this zone; all if left out", examples=[*family.zones[:1]])
        ] = None,
        limit: Annotated[int, Query(ge=1, le=max_rows, description="Most readings to return")] = min(
            DEFAULT_LIMIT, max_rows
        ),
    ) -> Response:
        async with hot_view_errors():
            body, newest = await latest_of_family(view, family, zone=zone, limit=limit)
        return Response(body, headers=age_headers(age(newest)), media_type=JSON)

    router.add_api_route(
        f"/{family.name}/latest",
        family_latest,
        name=f"{family.name}_latest",
        summary=f"Newest readings of all {family.name} sensors",
        description=f"The newest reading of each sensor that has sent something in the last {_minutes(family)}, "
        "by zone and sensor, and for the zone, or for each zone, what its sensors have sent in the newest five "
        f"minutes so far. These are running totals: the final ones are in `{silver_5m(family).identifier}`.",
        response_model=latest_model(family),
        response_description="The readings and the aggregates",
        responses=latest_problems(family),
        dependencies=[_shows_events(family)],
    )


def _add_stream_route(router: APIRouter, family: Family) -> None:
    async def family_stream(
        feed: Feed,
        zone: Annotated[str | None, Query(description="Only this zone", examples=[*family.zones[:1]])] = None,
        sensor_id: Annotated[
            str | None, Query(description="Only readings of this sensor", examples=[f"{family.name}-0042"])
        ] = None,
        kind: Annotated[EventKind | None, Query(description="Only readings, or only totals of zones")] = None,
    ) -> Response:
        async with hot_view_errors():
            subscriber = await feed.join(family.name)
        return EventStream(feed, subscriber, EventFilter(zone=zone, sensor_id=sensor_id, kind=kind))

    router.add_api_route(
        f"/{family.name}/stream",
        family_stream,
        name=f"{family.name}_stream",
        summary=f"Live {family.name} values as server-sent events",
        description="Each change as an event: `reading`, whose data is a sensor's new reading, or `zone`, whose "
        "data are the totals so far of one zone and minute. Of changes to the same sensor within some "
        "milliseconds only the newest is sent. Nothing is repeated after a break: read `latest` again. A comment "
        f"comes after {HEARTBEAT_S:g} s without a change. A client that does not keep up is disconnected.",
        status_code=HTTPStatus.OK,
        response_class=EventStream,
        response_description="The events, until the client goes away",
        responses={
            HTTPStatus.OK.value: {"content": {EventStream.media_type: {"schema": {"type": "string"}}}},
            **latest_problems(family),
        },
        dependencies=[_shows_events(family)],
    )


def _shows_events(family: Family) -> Any:  # noqa: ANN401  what Depends returns
    return requires(Action.LIVE, bronze_events(family).identifier)


def _minutes(family: Family) -> str:
    return f"{family.stale_after.total_seconds() / 60:g} minutes"
