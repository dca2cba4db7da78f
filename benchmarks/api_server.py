"""Servers that a measurement starts: granian with the options of the stack's API, on ports of their own."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from tenacity import RetryError, Retrying, retry_if_exception_type, retry_if_result, stop_after_delay, wait_fixed

from contracts import LakehouseError
from settings import Settings
from settings.model import ROOT
from stack.local.local_env import free_ports
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
def running(
    settings: Settings, application: str, log: Path, *, until: tuple[str, ...], most_streams: int | None = None
) -> Iterator[Server]:
    """Serve ``application`` as the stack serves the API, until the block ends.

    Args:
        settings: of the running stack.
        application: module and name, as granian takes it; a factory if it is called ``create_...``.
        log: file that its output goes to.
        until: paths that must be answered with 200 before it counts as started.
        most_streams: answers with all rows that it sends at once; as the stack's API does if left out.

    Raises:
        ServerError: it ended, or did not answer in time.
    """
    port, metrics_port = free_ports(2)
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
        "LAKEHOUSE_API_MAX_STREAMS": str(most_streams or settings.api_max_streams),
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
    def is_answered() -> bool:
        if process.poll() is not None:
            raise ServerError(f"{url} does not answer, its server has ended: {log} says why")
        return httpx.get(url, timeout=PATIENCE_S).status_code == httpx.codes.OK

    retrying = Retrying(
        # it does not listen yet, or what it needs is not ready
        retry=retry_if_exception_type(httpx.TransportError) | retry_if_result(lambda answered: not answered),
        stop=stop_after_delay(PATIENCE_S),
        wait=wait_fixed(LOOK_EACH_S),
    )
    try:
        retrying(is_answered)
    except RetryError as error:
        raise ServerError(f"{url} does not answer: {log} says why, or ./lakehouse status what is down") from error
    return time.monotonic() - begun
