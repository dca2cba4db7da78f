"""What every table of the lakehouse is: pure data, read by every other package.

A family of sensors is one module in :mod:`contracts.sensor_families`; its tables are derived from it by
:mod:`contracts.tables`. Nothing here opens a connection or imports anything outside the standard library.
"""

from contracts.city import anomalies, city_hourly, sensor_health
from contracts.datasets import Dataset, DatasetKind
from contracts.errors import ContractError, LakehouseError
from contracts.model import (
    BATCH_WRITERS,
    Aggregate,
    Aggregation,
    Column,
    ColumnType,
    Family,
    Freshness,
    Layer,
    Maintenance,
    Measure,
    MeasureKind,
    PartitionField,
    Table,
    Transform,
    Writer,
)
from contracts.quality import quality_results
from contracts.registry import all_datasets, all_tables, dataset, families, family, served_tables, table
from contracts.stream_tables import dead_letters, late_events
from contracts.tables import (
    bronze_events,
    family_tables,
    gold_daily,
    gold_hourly,
    silver_1m,
    silver_5m,
)

__all__ = [
    "BATCH_WRITERS",
    "Aggregate",
    "Aggregation",
    "Column",
    "ColumnType",
    "ContractError",
    "Dataset",
    "DatasetKind",
    "Family",
    "Freshness",
    "LakehouseError",
    "Layer",
    "Maintenance",
    "Measure",
    "MeasureKind",
    "PartitionField",
    "Table",
    "Transform",
    "Writer",
    "all_datasets",
    "all_tables",
    "anomalies",
    "bronze_events",
    "city_hourly",
    "dataset",
    "dead_letters",
    "families",
    "family",
    "family_tables",
    "gold_daily",
    "gold_hourly",
    "late_events",
    "quality_results",
    "sensor_health",
    "served_tables",
    "silver_1m",
    "silver_5m",
    "table",
]
