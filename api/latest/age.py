"""How old live values are, and where they are from."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from api.headers import Fields
from api.rows.answers import REVALIDATE
from api.tables.states import MILLISECOND, snapshot_header, state_headers, utc_now
from contracts.quality import Verdict

SOURCE_FIELD = b"lakehouse-source"
"""Header: ``live`` for values from the hot view, ``table`` for those from Iceberg in their place."""


def age(newest: datetime | None) -> dict[str, Any]:
    """Members of an envelope: the event time of the newest value, and how long ago that is, never negative."""
    return {
        "reaches": newest,
        "freshness_ms": None if newest is None else max(0, (utc_now() - newest) // MILLISECOND),
    }


def age_fields(
    found: Mapping[str, Any],
    source: Literal["live", "table"],
    *,
    snapshot_id: str | None = None,
    quality: Verdict | None = None,
) -> Fields:
    """The same as header fields, and where it is from; the next event may change any live value.

    Live values are of no snapshot, and no check has seen them.
    """
    return [
        (b"cache-control", REVALIDATE),
        (SOURCE_FIELD, source.encode()),
        snapshot_header(snapshot_id),
        *state_headers(found["reaches"], found["freshness_ms"], quality),
    ]
