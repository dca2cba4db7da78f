"""The table that keeps what the checks of all tables said."""

from datetime import timedelta
from typing import Literal

from contracts.model import (
    BATCH_MAINTENANCE,
    Column,
    ColumnType,
    Freshness,
    Layer,
    PartitionField,
    Table,
    Transform,
    Writer,
)
from contracts.rules import OneOf
from contracts.tables import CITY

REPORT = "quality.html"
"""Name of the report on it, below the setting ``report_location``."""

Verdict = Literal["passed", "warned", "failed"]


def verdict(*, passed: bool, severity: str) -> Verdict:
    """What an evaluation says: a failure whose severity is ``WARN`` points at a sensor, not at the platform."""
    if passed:
        return "passed"
    return "warned" if severity == "WARN" else "failed"


def quality_results() -> Table:
    """Every evaluation of a check, with what failed."""
    columns = (
        Column("checked_at", ColumnType.TIMESTAMP, "When the check was evaluated"),
        Column("table_name", ColumnType.STRING, "Table that was checked, as namespace.name"),
        Column("check_name", ColumnType.STRING, "Check, as Dagster names it"),
        Column("passed", ColumnType.BOOLEAN, "Whether all was as it should be"),
        Column("severity", ColumnType.STRING, "What a failure of it means: ERROR or WARN"),
        Column(
            "row_count", ColumnType.LONG, "Rows that were looked at, where the check counts them", unit="1",
            nullable=True, minimum=0,
        ),
        Column("description", ColumnType.STRING, "What the check found, in a sentence", nullable=True),
        Column(
            "failures", ColumnType.STRING,
            "Expectations that were not met, with observed values and keys of up to 20 rows, as JSON",
            nullable=True,
        ),
        Column("run_id", ColumnType.STRING, "Dagster run of the check, if one did it", nullable=True),
    )  # fmt: skip
    return Table(
        layer=Layer.GOLD,
        name="quality_results",
        family=CITY,
        description="One row per evaluation of a check: what it said, and which expectations were not met",
        columns=columns,
        key=("table_name", "check_name", "checked_at"),
        event_time="checked_at",
        partitioning=(PartitionField("checked_at", Transform.DAY),),
        sort_order=("table_name", "check_name", "checked_at"),
        writer=Writer.DAGSTER,
        derived_from=(),
        freshness=Freshness(warn_after=timedelta(hours=2), fail_after=timedelta(hours=26)),
        owners=("team:platform",),
        maintenance=BATCH_MAINTENANCE,
        rules=(OneOf("severity", ("ERROR", "WARN")),),
        # from Dagster's event log
        originates=tuple(column.name for column in columns),
    )
