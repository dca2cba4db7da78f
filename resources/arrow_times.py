"""Instants without their time zone, which is UTC."""

from datetime import UTC, datetime

import pyarrow as pa


def without_zones(rows: pa.Table) -> pa.Table:
    """``rows`` with instants as plain timestamps in UTC.

    No time zone of the machine gets in through DuckDB, and Python's zone-aware datetimes cost twice as much.
    """
    fields = [
        pa.field(field.name, pa.timestamp("us")) if pa.types.is_timestamp(field.type) else field
        for field in rows.schema
    ]
    return rows.cast(pa.schema(fields))


def without_zone(moment: datetime) -> datetime:
    """``moment`` as a plain datetime in UTC."""
    return moment.astimezone(UTC).replace(tzinfo=None)
