"""The HTTP API: curated tables, read straight from Iceberg."""
