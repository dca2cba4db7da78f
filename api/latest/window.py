"""The rolling five-minute aggregate of a zone, merged from its minutes."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from contracts import Family
from resources.hot_view import NEWEST_MINUTE_FOR, WINDOW_MINUTES

_LENGTH = timedelta(minutes=WINDOW_MINUTES)


def rolling_window(family: Family, minutes: Iterable[bytes]) -> dict[str, Any] | None:
    """Merge the newest five minutes of one zone; ``None`` where it is silent.

    Args:
        family: whose measures the minutes hold.
        minutes: documents of the zone's minutes: totals, with count, sum, minimum and maximum of each measure.
    """
    by_start = {datetime.fromisoformat(fields["minute"]): fields for fields in map(orjson.loads, minutes)}
    newest = max(by_start, default=datetime.min.replace(tzinfo=UTC))
    if newest < datetime.now(UTC) - NEWEST_MINUTE_FOR:
        return None
    end = newest + timedelta(minutes=1)
    merged = [fields for start, fields in by_start.items() if end - _LENGTH <= start]
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
