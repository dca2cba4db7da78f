"""Topics, hot views and the tables that services write: external assets, since a service is no Dagster run."""

import dagster as dg

from contracts import DatasetKind, Table, Writer, all_datasets, all_tables
from lakehouse_assets.describe import dataset_spec, table_spec

EXTERNAL_WRITERS = (Writer.FLINK, Writer.COLLECTOR)


def streaming_tables() -> tuple[Table, ...]:
    """Tables that are written all the time, upstream first."""
    return tuple(declared for declared in all_tables() if declared.writer in EXTERNAL_WRITERS)


def streaming_assets() -> list[dg.AssetSpec]:
    """The topics and hot view of each family, and the tables that are derived from them all the time."""
    return [
        *(dataset_spec(declared) for declared in all_datasets() if declared.kind is not DatasetKind.API),
        *(table_spec(declared) for declared in streaming_tables()),
    ]
