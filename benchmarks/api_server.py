"""Servers that a measurement starts: granian with the options of the stack's API, on ports of their own."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from contracts import LakehouseError
from settings import Settings
from settings.model import ROOT
from stack.local.services import api

PATIENCE_S = 60.0
LOOK_EACH_S = 0.01


class ServerError(LakehouseError):
    """A server of the measurement does not answer."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers; ``started_s`` is how long it took until each of the paths was answered with 200."""

    host: str
    port: int
    pid: int
    started_s: dict[str, float]

    @property
    def url(self) -> str:
        """Its base address."""
        return f"http://{self.host}:{self.port}"

    def memory_bytes(self) -> int:
        """Resident memory of its processes."""
        parent = psutil.Process(self.pid)
        return sum(each.memory_info().rss for each in (parent, *parent.children(recursive=True)))


@contextmanager
def running(settings: Settings, application: str, log: Path, *, until: tuple[str, ...]) -> Iterator[Server]:
    """Serve ``application`` as the stack serves the API, until the block ends.

    Args:
        settings: of the running stack.
        application: module and name, as granian takes it; a factory if it is called ``create_...``.
        log: file that its output goes to.
        until: paths that must be answered with 200 before it counts as started.

    Raises:
        ServerError: it ended, or did not answer in time.
    """
    port, metrics_port = _free_ports(2)
    own = settings.model_copy(update={"api_port": port, "api_metrics_port": metrics_port})
    command = [*api.service(own).command[:-1], application]
    if ":create_" not in application:
        command.remove("--factory")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "LAKEHOUSE_HOME": str(settings.home),
        "LAKEHOUSE_TOOLCHAIN": str(settings.toolchain),
        "LAKEHOUSE_API_METRICS_PORT": str(metrics_port),
    }
    with log.open("wb") as output:
        begun = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
        try:
            url = f"http://{settings.api_host}:{port}"
            started = {path: _answered_after(begun, process, url + path, log) for path in until}
            yield Server(settings.api_host, port, process.pid, started)
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answered_after(begun: float, process: "subprocess.Popen[bytes]", url: str, log: Path) -> float:
    while time.monotonic() < begun + PATIENCE_S:
        if process.poll() is not None:
            break
        try:
            if httpx.get(url, timeout=PATIENCE_S).status_code == httpx.codes.OK:
                return time.monotonic() - begun
        except httpx.TransportError:
            pass  # it does not listen yet
        time.sleep(LOOK_EACH_S)
    raise ServerError(f"{url} does not answer: {log} says why, or ./lakehouse status what is down")


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with ExitStack() as sockets:
        ports = []
        for _ in range(count):
            probe = sockets.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
        return ports
