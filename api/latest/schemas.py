"""Models of live values, made from the contracts."""

from datetime import datetime
from functools import cache
from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.config import JsonDict

from api.problems import MEDIA_TYPE, Problem, problem_responses
from api.rows.schemas import EXAMPLE_TIME, PYTHON_TYPES, column_description, example_row
from contracts import Column, Family, Table, bronze_events, silver_5m
from contracts.quality import Verdict

_NEWEST_EVENT = EXAMPLE_TIME.isoformat().replace("+00:00", "Z")


class FamilyLatest(BaseModel):
    """The newest readings of a family or of a zone."""

    family: str = Field(description="Family of sensors")
    zone: str | None = Field(description="The zone that was asked for; null for all")
    source: Literal["live", "table"] = Field(
        description="`live`: from the hot view; `table`: while Redis is away, the newest readings and windows "
        "that are in Iceberg, some seconds older"
    )
    snapshot_id: str | None = Field(
        description="Iceberg snapshot of the readings where they are from the table, a 64-bit number as text"
    )
    reaches: datetime | None = Field(
        description="Event time of the newest event in this answer; null if there is none"
    )
    freshness_ms: int | None = Field(description="How long ago that is, in milliseconds")
    quality: Verdict | None = Field(
        description="The worst of what the checks of that table said last, in a week; null if none said anything, "
        "and for live values, which no check has seen"
    )
    since: datetime = Field(description="A sensor that sent nothing since then is not in this answer")
    reading_count: int = Field(description="Number of readings in this answer")
    has_more: bool = Field(description="Whether there are more sensors than `limit` let through")
    zones: list[Any]
    readings: list[Any]


@cache
def reading_model(family: Family) -> type[BaseModel]:
    """Make the model of a sensor's newest reading."""
    return table_model(bronze_events(family), f"{family.name.capitalize()}Reading", {})


@cache
def sensor_model(family: Family) -> type[BaseModel]:
    """Make the model of the answer for one sensor: its newest reading, and where that is from."""
    source = Field(
        description="`live`: from the hot view; `table`: while Redis is away, from Iceberg, some seconds older"
    )
    extra = {"source": (Literal["live", "table"], source)}
    return table_model(bronze_events(family), f"{family.name.capitalize()}SensorLatest", extra)


def latest_model(family: Family) -> type[FamilyLatest]:
    """Make the model of the newest readings of ``family``."""
    window: Any = table_model(
        silver_5m(family),
        f"{family.name.capitalize()}RollingWindow",
        {
            "newest_event": (
                datetime | None,
                Field(description="Event time of the newest event in it; null for a window from the table"),
            )
        },
    )
    reading: Any = reading_model(family)
    model = create_model(
        f"{family.name.capitalize()}Latest",
        __base__=FamilyLatest,
        __doc__=f"The newest readings of {family.name} sensors, and the last five minutes of their zones so far.",
        zones=(list[window], Field(description="The zone, or each zone, over the newest five minutes")),
        readings=(list[reading], Field(description="The readings, by zone and sensor")),
    )
    window_example = example_row(silver_5m(family)) | {"newest_event": _NEWEST_EVENT}
    example: JsonDict = {
        "family": family.name,
        "zone": str(window_example["zone"]),
        "source": "live",
        "snapshot_id": None,
        "reaches": _NEWEST_EVENT,
        "freshness_ms": 250,
        "quality": None,
        "since": _NEWEST_EVENT,
        "reading_count": 1,
        "has_more": True,
        "zones": [window_example],
        "readings": [example_row(bronze_events(family))],
    }
    model.model_config["json_schema_extra"] = {"examples": [example]}
    return model


def latest_problems(family: Family, *, not_found: bool = False) -> dict[int | str, dict[str, object]]:
    """OpenAPI descriptions of the errors of these routes."""
    own = {
        HTTPStatus.SERVICE_UNAVAILABLE: (
            "The live values cannot be read now. `Retry-After` says in how many seconds to try again.",
            "the live values cannot be read now: try again in 5 s",
        )
    }
    if not_found:
        own[HTTPStatus.NOT_FOUND] = (
            "The sensor is unknown, or has been silent for so long that its reading is stale.",
            f"no {family.name} sensor '{family.name}-9999' has sent anything in the last 15 minutes: "
            f"GET /v1/{family.name}/latest lists those that have",
        )
    described = problem_responses(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.UNPROCESSABLE_ENTITY)
    for status, (description, detail) in own.items():
        example = Problem(title=status.phrase, status=status, detail=detail).model_dump(exclude_none=True)
        content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}}
        described[status.value] = {"description": description, "content": content}
    return described


def table_model(table: Table, name: str, extra: dict[str, Any]) -> type[BaseModel]:
    """Make the model of a row of ``table`` with all its columns, and ``extra`` fields."""
    fields: dict[str, Any] = {column.name: _field(column) for column in table.columns}
    return create_model(
        name, __config__=ConfigDict(extra="forbid"), __doc__=f"{table.description}.", **fields, **extra
    )


def _field(column: Column) -> tuple[Any, Any]:
    type_: Any = PYTHON_TYPES[column.type]
    return (
        type_ | None if column.nullable else type_,
        Field(
            description=column_description(column),
            json_schema_extra={} if column.unit is None else {"x-unit": column.unit},
        ),
    )
