"""Rewrites the data files of a table with Spark: ``python -m stack.chaos.compaction bronze.traffic_events``.

In a process of its own, because a session's JVM stays as long as its process.
"""

import sys

from pyspark.sql import SparkSession

from resources.spark import connect_catalog, spark_config
from settings import load_settings

SMALLEST_GROUP = 2


def main(table: str) -> None:
    """Rewrite the files of ``table`` and print what was done."""
    settings = load_settings()
    builder = SparkSession.builder
    for name, value in spark_config(settings).items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    try:
        connect_catalog(session, settings)
        [done] = session.sql(
            f"CALL {settings.catalog_name}.system.rewrite_data_files("
            f"table => '{table}', options => map('min-input-files', '{SMALLEST_GROUP}'))"
        ).collect()
    finally:
        session.stop()
    sys.stdout.write(
        f"{done['rewritten_data_files_count']} files of {table} became {done['added_data_files_count']}\n"
    )


if __name__ == "__main__":
    main(sys.argv[1])
