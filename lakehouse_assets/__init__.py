"""The Dagster code location: every table as an asset, with lineage, freshness, checks and schedules."""
