"""What a Hadoop configuration reads each time that one is made, as Iceberg does for each Parquet file."""

import subprocess
from typing import TYPE_CHECKING

from rich.console import Console

from settings import Settings
from stack.local.services.flink import flink_environment, flink_home
from stack.toolchain.java import find_java

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MOST = 20
"""Of the thousand that Hadoop has."""


def test_a_flink_process_reads_few_defaults(settings: Settings) -> None:
    java = find_java(settings.toolchain, None, Console(quiet=True))
    class_path = f"{flink_home(settings)}/lib/*:{flink_environment(settings, java)['HADOOP_CLASSPATH']}"
    # its main method writes all that it has read
    written = subprocess.run(
        [java / "bin" / "java", "-cp", class_path, "org.apache.hadoop.conf.Configuration"],
        capture_output=True,
        check=True,
    ).stdout
    assert 0 < written.count(b"<property>") < MOST


def test_spark_reads_few_defaults_also_of_a_cluster(session: "SparkSession") -> None:
    hadoop = session._jvm.org.apache.hadoop  # type: ignore[union-attr]
    # makes all configurations read those of MapReduce and YARN as well; Parquet's classes need it
    hadoop.mapred.JobConf()
    configuration = hadoop.conf.Configuration()
    assert 0 < configuration.size() < MOST
    assert configuration.get("yarn.resourcemanager.hostname") is None
