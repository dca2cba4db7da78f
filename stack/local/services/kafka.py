"""Kafka: one broker that is its own KRaft controller (KIP-500)."""

import subprocess
from pathlib import Path

from resources.kafka import is_reachable
from settings import Settings
from stack.errors import StackError
from stack.local.files import write_private
from stack.local.service import Service, Stage
from stack.local.services.jvm import LATE_SECOND_COMPILER
from stack.toolchain.jars import class_path

BROKER = "kafka"
CLUSTER_ID = "bGFrZWhvdXNlLWxvY2FsMA"
"""A KRaft cluster id is 16 bytes in URL-safe base64; it only has to differ between clusters that could meet."""

HEAP = ("-Xms256m", "-Xmx512m")

LOG4J = """<Configuration status="WARN">
  <Appenders>
    <Console name="console"><PatternLayout pattern="%d{ISO8601} %-5p %m (%c)%n"/></Console>
  </Appenders>
  <Loggers><Root level="WARN"><AppenderRef ref="console"/></Root></Loggers>
</Configuration>
"""


def service(settings: Settings, java_home: Path) -> Service:
    """The broker; ready when it answers a metadata request."""
    conf = settings.home / "conf" / "kafka"
    return Service(
        name=BROKER,
        stage=Stage.INFRASTRUCTURE,
        command=(
            str(java_home / "bin" / "java"),
            *HEAP,
            *LATE_SECOND_COMPILER,
            f"-Dlog4j2.configurationFile={conf / 'log4j2.xml'}",
            "-cp",
            class_path(settings.toolchain, "kafka"),
            "kafka.Kafka",
            str(conf / "server.properties"),
        ),
        address=settings.kafka_bootstrap_servers,
        ports=(settings.ports.kafka, settings.ports.kafka_controller),
        is_ready=lambda: is_reachable(settings),
        stop_seconds=60,
    )


def prepare(settings: Settings, java_home: Path) -> None:
    """Write the broker's configuration and, the first time, format its log folder.

    Raises:
        StackError: the log folder cannot be formatted.
    """
    conf = settings.home / "conf" / "kafka"
    data = settings.home / "data" / "kafka"
    write_private(conf / "log4j2.xml", LOG4J)
    properties = write_private(conf / "server.properties", _server_properties(settings, data))
    if (data / "meta.properties").exists():
        return
    data.mkdir(parents=True, exist_ok=True)
    formatted = subprocess.run(
        [
            java_home / "bin" / "java",
            f"-Dlog4j2.configurationFile={conf / 'log4j2.xml'}",
            "-cp",
            class_path(settings.toolchain, "kafka"),
            "kafka.tools.StorageTool",
            "format",
            "-t",
            CLUSTER_ID,
            "-c",
            properties,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if formatted.returncode:
        raise StackError(f"could not format Kafka's log folder {data}: {formatted.stderr.strip()[-500:]}")


def _server_properties(settings: Settings, data: Path) -> str:
    ports = settings.ports
    properties = {
        "process.roles": "broker,controller",
        "node.id": 1,
        # a static quorum: the controller's port is not stored in the log and may change between starts
        "controller.quorum.voters": f"1@127.0.0.1:{ports.kafka_controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://127.0.0.1:{ports.kafka},CONTROLLER://127.0.0.1:{ports.kafka_controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{ports.kafka}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": data,
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        "log.retention.hours": 168,
    }
    return "".join(f"{name}={value}\n" for name, value in properties.items())
