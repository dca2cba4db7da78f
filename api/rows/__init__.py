"""The rows of a table."""
