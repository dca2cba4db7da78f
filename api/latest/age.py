"""How old live values are, and where they are from."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from api.headers import Fields
from api.rows.answers import REVALIDATE
from api.tables.states import MILLISECOND, NONE, utc_now
from contracts.quality import Verdict

SOURCE = "Lakehouse-Source"
"""Header: ``live`` for values from the hot view, ``table`` for those from Iceberg in their place."""
SOURCE_FIELD = SOURCE.lower().encode()


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
    reaches, freshness = found["reaches"], found["freshness_ms"]
    return [
        (b"cache-control", REVALIDATE),
        (SOURCE_FIELD, source.encode()),
        (b"lakehouse-snapshot-id", (snapshot_id or NONE).encode()),
        (b"lakehouse-quality", (NONE if quality is None else str(quality)).encode()),
        (b"lakehouse-reaches", (NONE if reaches is None else reaches.isoformat().replace("+00:00", "Z")).encode()),
        (b"lakehouse-freshness-ms", (NONE if freshness is None else str(freshness)).encode()),
    ]
