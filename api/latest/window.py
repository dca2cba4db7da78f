"""Five-minute aggregates of a zone, merged from its minutes."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from contracts import Family
from resources.hot_view import NEWEST_MINUTE_FOR, WINDOW_MINUTES

_LENGTH = timedelta(minutes=WINDOW_MINUTES)


Minutes = Mapping[datetime, dict[str, Any]]
"""Totals of a zone's minutes by their start: count, and count, sum, minimum and maximum of each measure."""


def parse_minutes(documents: Iterable[bytes]) -> Minutes:
    """Read the documents of the minutes of one zone."""
    return {datetime.fromisoformat(fields["minute"]): fields for fields in map(orjson.loads, documents)}


def rolling_window(family: Family, minutes: Minutes) -> dict[str, Any] | None:
    """Merge the newest five minutes of one zone; ``None`` where it is silent."""
    newest = max(minutes, default=datetime.min.replace(tzinfo=UTC))
    if newest < datetime.now(UTC) - NEWEST_MINUTE_FOR:
        return None
    return window_ending(family, minutes, newest + timedelta(minutes=1))


def window_ending(family: Family, minutes: Minutes, end: datetime) -> dict[str, Any] | None:
    """Merge the five minutes before ``end`` of one zone; ``None`` where there are none."""
    merged = [fields for start, fields in minutes.items() if end - _LENGTH <= start < end]
    if not merged:
        return None
    window: dict[str, Any] = {
        "zone": merged[0]["zone"],
        "window_start": _instant(end - _LENGTH),
        "window_end": _instant(end),
        "event_count": sum(fields["event_count"] for fields in merged),
        "newest_event": _instant(max(datetime.fromisoformat(fields["newest_event"]) for fields in merged)),
    }
    for measure in family.measures:
        window |= _merged_measure(measure.name, merged)
    return window


def _merged_measure(name: str, minutes: list[dict[str, Any]]) -> dict[str, float | None]:
    # a measure that the contract has gained is not in the minutes of before
    present = [fields for fields in minutes if fields.get(f"{name}_count")]
    count = sum(fields[f"{name}_count"] for fields in present)
    return {
        f"{name}_count": count,
        f"{name}_min": min((fields[f"{name}_min"] for fields in present), default=None),
        f"{name}_max": max((fields[f"{name}_max"] for fields in present), default=None),
        f"{name}_mean": sum(fields[f"{name}_sum"] for fields in present) / count if count else None,
    }


def _instant(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
