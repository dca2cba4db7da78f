"""Models of joined windows, made from the contracts."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field, create_model
from pydantic.config import JsonDict

from api.latest.schemas import table_model
from api.rows.schemas import EXAMPLE_TIME, STATE_EXAMPLE, example_row
from api.tables.states import StateFields
from contracts import Family, silver_5m


class WindowsAnswer(StateFields):
    """Windows of a family's zones, the newest first."""

    family: str = Field(description="Family of sensors")
    snapshot_id: str | None = Field(
        description="Iceberg snapshot of the finished windows, a 64-bit number as text; null while there are none"
    )
    boundary: datetime | None = Field(
        description="Latest end of a window in that snapshot: windows up to it are final, none after it is in it"
    )
    live: bool = Field(description="Whether the running windows could be read")
    live_after: datetime | None = Field(
        description="Running windows are those that end later. Where this is after `boundary`, the stream is so "
        "far behind that windows between the two are in neither yet"
    )
    row_count: int = Field(description="Number of windows in this answer")
    has_more: bool = Field(description="Whether there are more than `limit` let through")
    rows: list[Any]


def windows_model(family: Family) -> type[WindowsAnswer]:
    """Make the model of the windows of ``family``."""
    declared = silver_5m(family)
    title = f"{family.name.capitalize()}Window"
    window: Any = table_model(
        declared,
        title,
        {
            "newest_event": (
                datetime | None,
                Field(description="Event time of the newest event in a running window; null for finished ones"),
            ),
            "source": (
                Literal["table", "live"],
                Field(description="`table`: finished, from Iceberg; `live`: so far, from the hot view"),
            ),
        },
    )
    instant = EXAMPLE_TIME.isoformat().replace("+00:00", "Z")
    example: JsonDict = {
        "family": family.name,
        "snapshot_id": "6218345912345678901",
        **STATE_EXAMPLE,
        "boundary": instant,
        "live": True,
        "live_after": instant,
        "row_count": 1,
        "has_more": True,
        "rows": [example_row(declared) | {"newest_event": instant, "source": "live"}],
    }
    answer = create_model(
        f"{title}s",
        __base__=WindowsAnswer,
        __doc__=f"Five-minute windows of {family.name} by zone, the newest first.",
        rows=(list[window], Field(description="The windows")),
    )
    answer.model_config["json_schema_extra"] = {"examples": [example]}
    return answer
