"""Routes for live values: one set per family, so that each has its own models."""

from collections.abc import Iterable
from datetime import UTC
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from api.encoded import EncodedResponse
from api.latest.age import age, age_fields
from api.latest.dependencies import NoReadingError, UnknownFamilyError
from api.latest.reader import HotViewReader, HotViewUnavailableError
from api.latest.schemas import latest_model, latest_problems, sensor_model
from api.latest.service import latest_of_family
from api.latest.stream_router import add_stream_route
from api.latest.table_values import TableValues
from api.prepared import answer_prepared
from api.query_parameters import OnlyKnownParameters
from api.rows.formats import json_bytes
from api.security import RequiresKey, requires
from contracts import Family, bronze_events, silver_5m
from resources.api_keys import Action
from resources.hot_view import document, event_time, reading_key

DEFAULT_LIMIT = 100
JSON = "application/json"


def latest_router(families: Iterable[Family], *, max_rows: int) -> APIRouter:
    """Make the routes for the live values of ``families``; include it after all other routes below ``/v1``."""
    router = APIRouter(prefix="/v1", tags=["Live values"], dependencies=[RequiresKey, OnlyKnownParameters])
    known = {family.name: family for family in families}
    for family in known.values():
        _add_sensor_route(router, family)
        _add_family_route(router, family, max_rows)
        add_stream_route(router, family)

    @router.get("/{name}/latest", include_in_schema=False)
    @router.get("/{name}/stream", include_in_schema=False)
    @router.get("/{name}/sensors/{sensor_id}/latest", include_in_schema=False)
    async def unknown_family(name: str) -> None:
        """Answer for a family that has no routes of its own."""
        raise UnknownFamilyError(name, known)

    return router


def _add_sensor_route(router: APIRouter, family: Family) -> None:
    async def sensor_latest(
        request: Request,
        sensor_id: Annotated[
            str, Path(description="Identifier of the sensor", examples=[f"{family.name}-0042"], max_length=512)
        ],
    ) -> Response:
        return await answer_prepared(request, partial(_newest_reading, family=family, sensor_id=sensor_id))

    router.add_api_route(
        f"/{family.name}/sensors/{{sensor_id}}/latest",
        sensor_latest,
        name=f"{family.name}_sensor_latest",
        summary=f"Newest reading of a {family.name} sensor",
        description="The event with the greatest event time that the sensor has sent, as soon as it is read: some "
        f"milliseconds after it was published. A sensor that has been silent for {_minutes(family)} has none. "
        f"While Redis is away it is the newest in `{bronze_events(family).identifier}`, and `source` and the "
        "header `Lakehouse-Source` are `table`.",
        response_model=sensor_model(family),
        response_description="The reading",
        responses=latest_problems(family, not_found=True),
        dependencies=[_shows_events(family)],
    )


def _add_family_route(router: APIRouter, family: Family, max_rows: int) -> None:
    async def family_latest(
        request: Request,
        zone: Annotated[
            str | None, Query(description="Only this zone; all if left out", examples=[*family.zones[:1]])
        ] = None,
        limit: Annotated[int, Query(ge=1, le=max_rows, description="Most readings to return")] = min(
            DEFAULT_LIMIT, max_rows
        ),
    ) -> Response:
        return await answer_prepared(request, partial(_newest_of_family, family=family, zone=zone, limit=limit))

    router.add_api_route(
        f"/{family.name}/latest",
        family_latest,
        name=f"{family.name}_latest",
        summary=f"Newest readings of all {family.name} sensors",
        description=f"The newest reading of each sensor that has sent something in the last {_minutes(family)}, "
        "by zone and sensor, and for the zone, or for each zone, what its sensors have sent in the newest five "
        f"minutes so far. These are running totals: the final ones are in `{silver_5m(family).identifier}`. While "
        f"Redis is away the readings are the newest in `{bronze_events(family).identifier}` and the windows the "
        "newest of the final ones, and `source` and the header `Lakehouse-Source` are `table`.",
        response_model=latest_model(family),
        response_description="The readings and the aggregates",
        responses=latest_problems(family),
        dependencies=[_shows_events(family)],
    )


async def _newest_reading(request: Request, *, family: Family, sensor_id: str) -> Response:
    view: HotViewReader = request.app.state.hot_view
    try:
        entry = await view.entry(reading_key(family.name, sensor_id))
    except HotViewUnavailableError:
        return await _reading_from_table(request.app.state.table_values, family, sensor_id)
    if entry is None:
        raise NoReadingError(family, sensor_id)
    body = b'%b,"source":"live"}' % document(entry)[:-1]
    return EncodedResponse(body, age_fields(age(event_time(entry)), "live"), media_type=JSON)


async def _newest_of_family(request: Request, *, family: Family, zone: str | None, limit: int) -> Response:
    view: HotViewReader = request.app.state.hot_view
    try:
        body, newest = await view.read(partial(latest_of_family, family=family, zone=zone, limit=limit))
    except HotViewUnavailableError:
        return await _family_from_tables(request.app.state.table_values, family, zone, limit)
    return EncodedResponse(body, age_fields(age(newest), "live"), media_type=JSON)


async def _reading_from_table(tables: TableValues, family: Family, sensor_id: str) -> Response:
    found = await tables.reading(family, sensor_id)
    if found.row is None:
        raise NoReadingError(family, sensor_id)
    newest = found.row["event_time"].replace(tzinfo=UTC)
    fields = age_fields(age(newest), "table", snapshot_id=found.snapshot_id, quality=found.quality)
    return EncodedResponse(json_bytes(found.row | {"source": "table"}), fields, media_type=JSON)


async def _family_from_tables(tables: TableValues, family: Family, zone: str | None, limit: int) -> Response:
    envelope = await tables.latest_of_family(family, zone=zone, limit=limit)
    fields = age_fields(envelope, "table", snapshot_id=envelope["snapshot_id"], quality=envelope["quality"])
    return EncodedResponse(json_bytes(envelope), fields, media_type=JSON)


def _shows_events(family: Family) -> Any:  # noqa: ANN401  what Depends returns
    return requires(Action.LIVE, bronze_events(family).identifier)


def _minutes(family: Family) -> str:
    return f"{family.stale_after.total_seconds() / 60:g} minutes"
