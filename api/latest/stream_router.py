"""Routes that follow live values: as server-sent events, and at the same address as a WebSocket."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response, WebSocket

from api.latest.dependencies import Feed, UnknownFamilyError
from api.latest.events import HEARTBEAT_S, ID_PATTERN, RESET, EventFilter, EventKind
from api.latest.schemas import latest_problems
from api.latest.server_sent import EVENT_SCHEMA, EventStream
from api.latest.websocket import KEY_WITHIN_S, deny, follow
from api.problems import ProblemError
from api.query_parameters import refuse_unknown
from api.security import Permission, keeps
from contracts import Family, bronze_events
from resources.api_keys import Action

Zone = Annotated[str | None, Query(description="Only this zone")]
SensorId = Annotated[str | None, Query(description="Only readings of this sensor")]
Kind = Annotated[EventKind | None, Query(description="Only readings, or only totals of zones")]
LastEventId = Annotated[
    str | None,
    Query(
        description="Go on after the event with this id; from now on if left out",
        pattern=ID_PATTERN,
        examples=["1772352000123-4"],
    ),
]
LastEventIdHeader = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        description="The same, as a browser sends it that connects again",
        pattern=ID_PATTERN,
    ),
]

EVENTS = f"""Each change as an event: `reading`, whose data is a sensor's new reading, or `zone`, whose data are
the totals so far of one zone and minute. Of changes to the same sensor within some milliseconds only the newest
is sent.

**Resume.** Each event has an id. After a break, `last_event_id` (or the header `Last-Event-ID`) goes on after
it with what was missed, on any process of the service. The newest changes are kept, enough for some seconds;
where that is not all, an event `{RESET}` comes first: read `latest` again. After {HEARTBEAT_S:g} s without a
change a comment comes, with the id to go on from.

**Slow clients** are dropped when too much waits for them, and told by a last event `end`, whose data has
`reason` (`slow`, `unavailable` where Redis is away, `closing`, `refused` where the key was revoked or has expired)
and `detail`.

**WebSocket.** At the same address, with the same parameters, a WebSocket brings the same events, as text: JSON
objects with `events`, a list of `{{"id", "event", "data"}}` (empty in the first, from which on nothing is
missed, and after {HEARTBEAT_S:g} s without a change), and `last_event_id`. The key stands in the header `X-API-
Key` or, as browsers cannot send one, in the first message, within {KEY_WITHIN_S:g} s: `{{"key": "..."}}`; never
in the address. Where the key is in a header, what is wrong is answered as for other requests. Later the
connection is closed with a code and a reason: 1008 too slow, 1012 the process ends, 1013 Redis is away, 3000 no
valid key, or no more, 3003 not for this family, 3008 no key in time."""


def add_stream_route(router: APIRouter, family: Family) -> None:
    """Add the route of the server-sent events of ``family``."""

    async def family_stream(
        feed: Feed,
        permission: Annotated[Permission, keeps(Action.LIVE, bronze_events(family).identifier)],
        *,
        zone: Zone = None,
        sensor_id: SensorId = None,
        kind: Kind = None,
        last_event_id: LastEventId = None,
        last_event_id_header: LastEventIdHeader = None,
    ) -> Response:
        subscriber = await feed.join(family.name, after=last_event_id or last_event_id_header)
        return EventStream(feed, subscriber, EventFilter(zone=zone, sensor_id=sensor_id, kind=kind), permission)

    router.add_api_route(
        f"/{family.name}/stream",
        family_stream,
        name=f"{family.name}_stream",
        summary=f"Live {family.name} values as server-sent events, or over a WebSocket",
        description=EVENTS,
        status_code=HTTPStatus.OK,
        # what it is stands in the responses
        response_class=Response,
        response_description="The events, until the client goes away",
        responses={
            HTTPStatus.OK.value: {"content": {EventStream.media_type: {"itemSchema": EVENT_SCHEMA}}},
            **latest_problems(family),
        },
    )


def websocket_router(families: Iterable[Family]) -> APIRouter:
    """Make the WebSocket routes; no dependency of other routes is for them, which ask for a header."""
    router = APIRouter(prefix="/v1")
    known = {family.name: family for family in families}
    for family in known.values():
        _add_websocket_route(router, family)

    @router.websocket("/{name}/stream")
    async def unknown_family(websocket: WebSocket, name: str) -> None:
        """Answer for a family that has no route of its own."""
        await deny(websocket, UnknownFamilyError(name, known))

    return router


def _add_websocket_route(router: APIRouter, family: Family) -> None:
    async def family_websocket(
        websocket: WebSocket,
        feed: Feed,
        *,
        zone: Zone = None,
        sensor_id: SensorId = None,
        kind: Kind = None,
        last_event_id: LastEventId = None,
    ) -> None:
        try:
            await refuse_unknown(websocket)
        except ProblemError as problem:
            await deny(websocket, problem)
            return
        wanted = EventFilter(zone=zone, sensor_id=sensor_id, kind=kind)
        await follow(websocket, feed, family, wanted, after=last_event_id)

    router.add_api_websocket_route(f"/{family.name}/stream", family_websocket, name=f"{family.name}_websocket")
