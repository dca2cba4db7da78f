"""Maintenance of the tables as assets: small files, old snapshots, left-over files."""
