"""The family that a request is about, and where its live values are read."""

import difflib
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Request
from starlette.requests import HTTPConnection

from api.latest.changes import ChangeFeed
from api.latest.reader import HotViewReader
from api.problems import ProblemError
from contracts import Family


class UnknownFamilyError(ProblemError):
    """No family of that name is declared."""

    def __init__(self, name: str, known: Mapping[str, Family]) -> None:
        near = sorted(known, key=lambda other: difflib.SequenceMatcher(None, name, other).ratio(), reverse=True)
        super().__init__(
            HTTPStatus.NOT_FOUND, f"there is no family {name[:80]!r}: did you mean {', '.join(near[:3])}?"
        )


class NoReadingError(ProblemError):
    """A sensor is unknown, or has been silent for so long that its reading is stale."""

    def __init__(self, family: Family, sensor_id: str) -> None:
        minutes = family.stale_after.total_seconds() / 60
        super().__init__(
            HTTPStatus.NOT_FOUND,
            f"no {family.name} sensor {sensor_id[:80]!r} has sent anything in the last {minutes:g} minutes: "
            f"GET /v1/{family.name}/latest lists those that have",
        )


async def _hot_view(request: Request) -> HotViewReader:
    reader: HotViewReader = request.app.state.hot_view
    return reader


async def _change_feed(connection: HTTPConnection) -> ChangeFeed:
    feed: ChangeFeed = connection.app.state.changes
    return feed


HotView = Annotated[HotViewReader, Depends(_hot_view)]
Feed = Annotated[ChangeFeed, Depends(_change_feed)]
