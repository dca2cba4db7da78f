"""What the API says about tables; a test holds every field against the API's OpenAPI document."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel


class Column(BaseModel):
    """One column; ``unit`` is the symbol of its unit, ``1`` for a ratio or a count."""

    name: str
    type: str
    meaning: str
    unit: str | None
    nullable: bool
    minimum: float | None
    maximum: float | None


class Table(BaseModel):
    """A table by its contract. ``key`` is unique; ``event_time`` is what ``since`` and ``until`` are about."""

    identifier: str
    layer: str
    family: str
    description: str
    owners: list[str]
    key: list[str]
    event_time: str
    columns: list[Column]


class TableState(Table):
    """A table with its newest snapshot; none of it is known while the catalog is down."""

    row_count: int | None
    snapshot_id: str | None
    committed_at: datetime | None


class Check(BaseModel):
    """What a check of a table said last."""

    check: str
    verdict: Literal["passed", "warned", "failed"]
    checked_at: datetime
    description: str | None


class TableQuality(BaseModel):
    """What the checks of a table say; ``verdict`` is the worst of them."""

    table: str
    verdict: Literal["passed", "warned", "failed"]
    checks: list[Check]


class Windows(BaseModel):
    """Windows of a family's zones, the newest first.

    Those that end up to ``boundary`` are final (``source`` is ``table``), the others as far as their events have
    come (``live``).
    """

    family: str
    snapshot_id: str | None
    boundary: datetime | None
    live: bool
    has_more: bool
    rows: list[dict[str, Any]]
