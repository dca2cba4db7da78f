"""From a table contract to an Iceberg schema, partition spec and sort order."""

from typing import Any

from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.sorting import SortField, SortOrder
from pyiceberg.transforms import DayTransform, IdentityTransform
from pyiceberg.transforms import Transform as IcebergTransform
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DoubleType,
    IcebergType,
    IntegerType,
    LongType,
    NestedField,
    StringType,
    TimestamptzType,
)

from contracts import ColumnType, Table, Transform

ICEBERG_TYPES: dict[ColumnType, IcebergType] = {
    ColumnType.STRING: StringType(),
    ColumnType.BOOLEAN: BooleanType(),
    ColumnType.INT: IntegerType(),
    ColumnType.LONG: LongType(),
    ColumnType.DOUBLE: DoubleType(),
    ColumnType.TIMESTAMP: TimestamptzType(),
    ColumnType.BINARY: BinaryType(),
}


def _transform(transform: Transform) -> IcebergTransform[Any, Any]:
    match transform:
        case Transform.DAY:
            return DayTransform()
        case Transform.IDENTITY:
            return IdentityTransform()


def doc(unit: str | None, meaning: str) -> str:
    """Column comment: the meaning with its unit."""
    return meaning if unit is None else f"{meaning} [{unit}]"


def iceberg_schema(table: Table) -> Schema:
    """Schema of ``table`` with field ids by position, as for a new table."""
    return Schema(
        *(
            NestedField(
                field_id=position,
                name=column.name,
                field_type=ICEBERG_TYPES[column.type],
                required=not column.nullable,
                doc=doc(column.unit, column.meaning),
            )
            for position, column in enumerate(table.columns, start=1)
        )
    )


def partition_spec(table: Table) -> PartitionSpec:
    """Partition spec of a new ``table``; field names follow Iceberg's own (``event_time_day``)."""
    schema = iceberg_schema(table)
    if not table.partitioning:
        return UNPARTITIONED_PARTITION_SPEC
    return PartitionSpec(
        *(
            PartitionField(
                source_id=schema.find_field(field.column).field_id,
                field_id=1000 + position,
                transform=_transform(field.transform),
                name=f"{field.column}_{field.transform}",
            )
            for position, field in enumerate(table.partitioning)
        )
    )


def sort_order(table: Table) -> SortOrder:
    """Sort order of a new ``table``: its columns, ascending."""
    schema = iceberg_schema(table)
    return SortOrder(
        *(
            SortField(source_id=schema.find_field(name).field_id, transform=IdentityTransform())
            for name in table.sort_order
        )
    )
