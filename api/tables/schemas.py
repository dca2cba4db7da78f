"""What the API says about a table."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from contracts import Aggregate, ColumnType, Layer, Transform, Writer
from contracts.quality import Verdict
from resources.freshness import Staleness


class AggregationInfo(BaseModel):
    """How a column summarises a column of the upstream table."""

    function: Aggregate = Field(description="Aggregate function; nulls are left out")
    column: str = Field(description="Column of the upstream table")


class ColumnInfo(BaseModel):
    """One column."""

    name: str
    type: ColumnType = Field(description="`timestamp` is an instant in UTC with microseconds")
    meaning: str
    unit: str | None = Field(description="Symbol of the unit; `1` means a ratio or a count, null no unit")
    nullable: bool
    minimum: float | None = Field(description="Smallest valid value, inclusive, in the unit")
    maximum: float | None = Field(description="Largest valid value, inclusive, in the unit")
    aggregation: AggregationInfo | None = Field(description="Origin of a derived column")


class FreshnessInfo(BaseModel):
    """How old the newest data may be."""

    warn_after_s: float = Field(description="Age in seconds from which people are warned")
    fail_after_s: float = Field(description="Age in seconds from which it is a failure")


# without null, which FastAPI drops from the examples of a document
_TABLE_EXAMPLE: JsonDict = {
    "identifier": "silver.traffic_1m",
    "layer": "silver",
    "family": "traffic",
    "description": "One row per traffic sensor and minute with events: a tumbling window in event time",
    "owners": ["team:mobility"],
    "key": ["sensor_id", "window_start"],
    "event_time": "window_start",
    "freshness": {"warn_after_s": 300.0, "fail_after_s": 900.0},
    "columns": [
        {
            "name": "avg_speed_kmh_mean",
            "type": "double",
            "meaning": "Arithmetic mean of mean speed of those vehicles",
            "unit": "km/h",
            "nullable": True,
            "minimum": 0.0,
            "maximum": 300.0,
            "aggregation": {"function": "mean", "column": "avg_speed_kmh"},
        }
    ],
}
_COMMIT_EXAMPLE: JsonDict = {"snapshot_id": "6218345912345678901", "committed_at": "2026-03-01T08:00:10.250Z"}
_REACH_EXAMPLE: JsonDict = {"reaches": "2026-03-01T08:00:00Z", "lag_s": 10.25, "staleness": "fresh"}

_SNAPSHOT_ID = Field(description="Iceberg snapshot, a 64-bit number as text; null while nothing was written")
_QUALITY = Field(description="The worst of what its checks said last, in a week; null if none said anything")
_COMMITTED_AT = Field(description="When the snapshot was committed; null while nothing was written")


class SnapshotInfo(BaseModel):
    """State of a table in the catalog."""

    snapshot_id: str | None = _SNAPSHOT_ID
    committed_at: datetime | None = _COMMITTED_AT
    operation: str | None = Field(
        description="What the snapshot did: `append`, `overwrite`, `replace` or `delete`"
    )
    row_count: int = Field(description="Rows of the table, by the snapshot's summary")
    data_file_count: int = Field(description="Data files of the table, by the snapshot's summary")
    size_bytes: int = Field(description="Bytes of those files")


class ReachInfo(BaseModel):
    """How far the events of a table reach, whenever they were written."""

    reaches: datetime | None = Field(
        description="Up to when the table holds what happened; null while it is empty"
    )
    lag_s: float | None = Field(description="How long ago that is, in seconds")
    staleness: Staleness = Field(
        description="`late` from `freshness.warn_after_s` on, `stale` from `freshness.fail_after_s` on"
    )


class PartitionInfo(BaseModel):
    """One field of the partition spec."""

    column: str
    transform: Transform


class TableInfo(BaseModel):
    """What a table is, by its contract."""

    identifier: str = Field(description="`namespace.table`")
    layer: Layer
    family: str = Field(description="Family of sensors")
    description: str
    owners: list[str]
    key: list[str] = Field(description="Columns that are unique together")
    event_time: str = Field(description="Column that the time range `from`, `to` is about")
    freshness: FreshnessInfo
    columns: list[ColumnInfo]


class TableSummary(TableInfo):
    """A table in the list, with its state where the catalog and the object store could be asked."""

    row_count: int | None = Field(description="Rows of the table; null if the catalog does not know it now")
    snapshot_id: str | None = _SNAPSHOT_ID
    committed_at: datetime | None = _COMMITTED_AT
    reach: ReachInfo | None = Field(description="How far its events reach; null if that cannot be read now")
    quality: Verdict | None = _QUALITY


class TableList(BaseModel):
    """The tables that are served."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "catalog_reachable": True,
                    "tables": [
                        {
                            **_TABLE_EXAMPLE,
                            **_COMMIT_EXAMPLE,
                            "row_count": 360_000,
                            "reach": _REACH_EXAMPLE,
                            "quality": "passed",
                        }
                    ],
                }
            ]
        }
    )

    catalog_reachable: bool = Field(
        description="False if the catalog does not answer: `row_count`, `snapshot_id` and `committed_at` are null"
    )
    tables: list[TableSummary]


class TableDetail(TableInfo):
    """Everything about one table."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **_TABLE_EXAMPLE,
                    "writer": "flink",
                    "tile_s": 60.0,
                    "derived_from": ["topic:sensors.traffic"],
                    "partitioning": [{"column": "window_start", "transform": "day"}],
                    "sort_order": ["sensor_id", "window_start"],
                    "snapshot": {
                        **_COMMIT_EXAMPLE,
                        "operation": "append",
                        "row_count": 360_000,
                        "data_file_count": 42,
                        "size_bytes": 14_680_064,
                    },
                    "reach": _REACH_EXAMPLE,
                    "quality": "passed",
                    "properties": {"format-version": "2", "write.parquet.compression-codec": "zstd"},
                }
            ]
        }
    )

    writer: Writer = Field(description="Engine that writes the table")
    tile_s: float | None = Field(description="Seconds that one row stands for; null where a row is an event")
    derived_from: list[str] = Field(description="Upstream tables, or `topic:<name>` for a Kafka topic")
    partitioning: list[PartitionInfo]
    sort_order: list[str] = Field(description="Columns that data files are sorted by")
    snapshot: SnapshotInfo
    reach: ReachInfo
    quality: Verdict | None = _QUALITY
    properties: dict[str, str] = Field(description="Properties of the Iceberg table")
