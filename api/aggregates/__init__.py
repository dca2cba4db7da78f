"""Aggregates of a table."""
