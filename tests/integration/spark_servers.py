"""Spark that is not in the process that uses it: a standalone master with a worker, and a Spark Connect server."""

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pyspark
from waiting import until

from settings import Settings
from stack.local.local_env import free_ports
from stack.toolchain.jars import class_path

SPARK_HOME = Path(pyspark.__file__).parent
HOST = "127.0.0.1"
SMALL = "512m"


@contextmanager
def standalone(folder: Path) -> Iterator[tuple[str, str]]:
    """A master with one worker of one core; yields its URL and where it says what it has run."""
    port, page = free_ports(2)
    master, status = f"spark://{HOST}:{port}", f"http://{HOST}:{page}/json/"
    with (
        _process(
            folder / "master.log",
            *("org.apache.spark.deploy.master.Master", "--host", HOST),
            *("--port", str(port), "--webui-port", str(page)),
        ),
        _process(
            folder / "worker.log",
            *("org.apache.spark.deploy.worker.Worker", "--host", HOST, "--webui-port", "0"),
            *("--cores", "1", "--memory", SMALL, "--work-dir", str(folder), master),
        ) as still_runs,
    ):
        until(lambda: still_runs() and workers(status) == 1, "the worker has registered")
        yield master, status


def workers(status: str) -> int:
    try:
        alive: int = httpx.get(status, timeout=5).json()["aliveworkers"]
    except httpx.TransportError:
        return 0
    return alive


@contextmanager
def connect(folder: Path, settings: Settings) -> Iterator[str]:
    """A server with the Iceberg jars; yields its URL."""
    (port,) = free_ports(1)
    with _process(
        folder / "connect.log",
        *("org.apache.spark.deploy.SparkSubmit", "--master", "local[1]"),
        *("--driver-class-path", class_path(settings.toolchain, "spark")),
        *("--conf", f"spark.connect.grpc.binding.address={HOST}"),
        *("--conf", f"spark.connect.grpc.binding.port={port}"),
        *("--conf", "spark.ui.enabled=false", "--conf", f"spark.local.dir={folder}"),
        *("--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal"),
    ) as still_runs:
        until(lambda: still_runs() and _listens(port), "the server listens")
        yield f"sc://{HOST}:{port}"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


@contextmanager
def _process(log: Path, *arguments: str) -> Iterator[Callable[[], bool]]:
    """One JVM with a class of Spark, which ends with what is done within; yields what fails if it ended before."""
    environment = os.environ | {
        "SPARK_HOME": str(SPARK_HOME),
        "SPARK_LOCAL_IP": HOST,
        "SPARK_DAEMON_MEMORY": SMALL,
        # it listens on a port that is the same for every master
        "SPARK_MASTER_OPTS": "-Dspark.master.rest.enabled=false",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            # it replaces itself with the JVM
            [SPARK_HOME / "bin" / "spark-class", *arguments],
            env=environment, cwd=log.parent, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip

        def still_runs() -> bool:
            assert process.poll() is None, log.read_text()[-2000:]
            return True

        try:
            yield still_runs
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
