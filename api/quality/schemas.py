"""Answers about data quality."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from contracts.quality import Verdict


class CheckOutcome(BaseModel):
    """What a check said when it last ran."""

    check: str = Field(description="Name of the check")
    verdict: Verdict = Field(description="`warned`: what failed points at a sensor, not at the platform")
    checked_at: datetime
    row_count: int | None = Field(description="Rows that were looked at, where the check counts them")
    description: str | None
    failures: list[dict[str, Any]] = Field(description="Expectations not met, with keys of up to 20 rows")


class DayOutcome(BaseModel):
    """How the evaluations of a day (UTC) went."""

    day: str
    passed: int
    warned: int
    failed: int


class TableQuality(BaseModel):
    """The checks of one table."""

    table: str
    verdict: Verdict = Field(description="The worst of its checks")
    checks: list[CheckOutcome]
    trend: list[DayOutcome] = Field(description="Days with evaluations, oldest first")


class QualitySummary(BaseModel):
    """The checks of all tables that were checked within `days`."""

    snapshot_id: str | None = Field(description="Snapshot of `gold.quality_results` that was read")
    days: int
    tables: list[TableQuality]
