"""Topics and the tables that services write: external assets, since a service is no Dagster run."""

import dagster as dg

from contracts import Table, Writer, all_tables, families
from lakehouse_assets.describe import table_spec, topic_spec

EXTERNAL_WRITERS = (Writer.FLINK, Writer.COLLECTOR)


def streaming_tables() -> tuple[Table, ...]:
    """Tables that are written all the time, upstream first."""
    return tuple(declared for declared in all_tables() if declared.writer in EXTERNAL_WRITERS)


def streaming_assets() -> list[dg.AssetSpec]:
    """The topic of each family and the tables that are derived from it all the time."""
    return [
        *(topic_spec(member) for member in families()),
        *(table_spec(declared) for declared in streaming_tables()),
    ]
