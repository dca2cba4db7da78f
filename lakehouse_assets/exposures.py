"""What the API answers, as external assets at the end of the graph, so that it shows where a table is read."""

import dagster as dg

from contracts import DatasetKind, all_datasets
from lakehouse_assets.describe import dataset_spec


def exposures() -> list[dg.AssetSpec]:
    """One asset for each table that is served, for the live values and windows of each family, and for quality."""
    return [dataset_spec(declared) for declared in all_datasets() if declared.kind is DatasetKind.API]
