"""Joins and sorts the files of a table with Spark: ``python -m stack.chaos.compaction bronze.traffic_events``.

In a process of its own, because a session's JVM stays as long as its process.
"""

import sys
from datetime import UTC, datetime

from contracts import table
from maintenance.plan import partitions
from maintenance.spark_actions import SparkActions
from resources.catalog import open_catalog
from resources.offsets import live_files
from resources.spark import connect_catalog, open_session
from settings import load_settings


def main(identifier: str) -> None:
    """Rewrite the files of the table, as if all its days were over, and print what was done."""
    settings = load_settings()
    declared = table(identifier)
    found = open_catalog(settings).load_table(identifier)
    snapshot = found.current_snapshot()
    files = [] if snapshot is None else live_files(found, snapshot)
    session = open_session(settings)
    try:
        connect_catalog(session, settings)
        actions = SparkActions(session, settings.catalog_name, declared)
        parts = [
            part.model_copy(update={"closed": True}) for part in partitions(files, declared, datetime.now(UTC))
        ]
        joined = actions.compact(parts) if parts else 0
    finally:
        session.stop()
    sys.stdout.write(f"{joined} files of {identifier} in {len(parts)} partitions were joined\n")


if __name__ == "__main__":
    main(sys.argv[1])
