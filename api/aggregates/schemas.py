"""The answer with aggregates; its columns follow from the request."""

from pydantic import ConfigDict, Field

from api.rows.schemas import STATE_EXAMPLE, SnapshotAnswer


class AggregatesAnswer(SnapshotAnswer):
    """Groups of rows of a table, all from one snapshot."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "table": "bronze.traffic_events",
                    "snapshot_id": "6218345912345678901",
                    "committed_at": "2026-03-01T08:01:00Z",
                    **STATE_EXAMPLE,
                    "columns": ["bucket", "zone", "count", "max_vehicle_count"],
                    "row_count": 1,
                    "has_more": False,
                    "rows": [
                        {
                            "bucket": "2026-03-01T00:00:00Z",
                            "zone": "centre",
                            "count": 24,
                            "avg_vehicle_count": 31.5,
                        }
                    ],
                }
            ]
        }
    )

    columns: list[str] = Field(
        description="`bucket`, where a width was given, then the groups, then the measures, as they were asked for"
    )
    rows: list[dict[str, str | bool | int | float | None]] = Field(description="The groups")
