"""Topics and Flink's tables: external assets, since a Flink job is a deployment and no Dagster run."""

import dagster as dg

from contracts import Table, Writer, all_tables, families
from lakehouse_assets.describe import table_spec, topic_spec


def streaming_tables() -> tuple[Table, ...]:
    """Tables that Flink writes, upstream first."""
    return tuple(declared for declared in all_tables() if declared.writer is Writer.FLINK)


def streaming_assets() -> list[dg.AssetSpec]:
    """The topic of each family and the tables that Flink derives from it."""
    return [
        *(topic_spec(member) for member in families()),
        *(table_spec(declared) for declared in streaming_tables()),
    ]
