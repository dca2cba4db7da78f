"""Hadoop's defaults on the class paths of Flink and Spark.

Iceberg makes a Hadoop configuration for each Parquet file that it writes, and that reads the thousand defaults of
file systems and clusters which nobody here uses: it took longer than writing a small file. Short files of the same
names stand before them; what is not in them has the same default in Hadoop's code.
"""

from pathlib import Path

DEFAULTS = Path(__file__).parent
"""Folder of the files; it has to stand before Hadoop's jars."""
