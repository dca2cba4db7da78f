"""A stack for faults: a home and ports of its own, proxies before catalog and S3, and no more than is needed."""

import os
import shutil
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
from rich.console import Console

from settings import load_settings
from stack.chaos.errors import ScenarioSkippedError
from stack.chaos.patience import until
from stack.chaos.proxy.catalog import CatalogProxy
from stack.chaos.proxy.loop import HOST, ProxyLoop
from stack.chaos.proxy.relay import Relay
from stack.chaos.volumes import SmallDisk, Volume
from stack.local import lifecycle
from stack.local.isolated import new_home
from stack.local.local_env import load_local_settings
from stack.local.processes import end_processes
from stack.local.service import Service
from stack.local.services import prepare, services
from stack.local.supervisor import Supervisor
from stack.toolchain.flink_extension import build_extension
from stack.toolchain.jars import fetch_jars
from stack.toolchain.java import find_java

NEEDED = frozenset(
    {
        "store",
        "commit-guard",
        "kafka",
        "redis",
        "flink-jobmanager",
        "flink-taskmanager",
        "hot-view",
        "dead-letters",
        "job-keeper",
    }
)
"""Services that events pass through; Dagster and the API only read what these have written."""

CHECKPOINT_INTERVAL_S = 3

FLINK_OPTIONS: Mapping[str, str] = {
    # a TaskManager that is gone is noticed in seconds, not in most of a minute
    "heartbeat.interval": "3s",
    "heartbeat.timeout": "15s",
    # the tenth fault of a job must not wait longer for its restart than the first
    "restart-strategy.exponential-delay.max-backoff": "3s",
}

PROXIED = "# Addresses of the fault proxies, which end with the command."


class Deployment:
    """One stack with its proxies.

    Flink -> ``before_guard`` -> commit guard -> ``before_catalog`` -> catalog; all of them -> ``before_s3`` -> S3.
    ``settings`` are those of a reader who is spared the faults.
    """

    def __init__(self, folder: Path, toolchain: Path, console: Console, volume: Volume | None = None) -> None:
        """Make a home in ``folder``, choose ports and start the proxies.

        Raises:
            ScenarioSkippedError: ``volume`` cannot be mounted.
        """
        self._console = console
        self._toolchain = toolchain
        self.home = new_home(folder)
        self.disk = self._mount(volume)
        os.environ["LAKEHOUSE_HOME"] = str(self.home)
        self._loop = ProxyLoop()
        self._loop.start()
        direct = load_local_settings(self.home, choose_ports=True)
        guard = f"http://{HOST}:{direct.ports.guard}"
        self.before_catalog = CatalogProxy(direct.catalog_uri)
        self.before_guard = CatalogProxy(guard)
        self.before_s3 = Relay(direct.s3_endpoint)
        self._guard = guard
        self._catalog = self._listen(self.before_catalog)
        addresses = {
            "GUARD_UPSTREAM": self._catalog,
            "GUARD_URL": self._listen(self.before_guard),
            "S3_ENDPOINT": self._listen(self.before_s3),
        }
        with direct.local_env.open("a") as file:
            file.write(f"LAKEHOUSE_CHECKPOINT_INTERVAL_S={CHECKPOINT_INTERVAL_S}\n{PROXIED}\n")
            file.writelines(f"LAKEHOUSE_{name}={address}\n" for name, address in addresses.items())
        self._deployed = load_settings()
        self.settings = self._deployed.model_copy(update={"s3_endpoint": direct.s3_endpoint})
        self.java_home = Path(os.devnull)

    @property
    def supervisor(self) -> Supervisor:
        """The supervisor of this stack."""
        return Supervisor(self.settings)

    def start(self) -> None:
        """Start every service and wait until all are ready.

        Raises:
            StackError: one is not.
        """
        fetch_jars(self._toolchain, self._console)
        self.java_home = find_java(self._toolchain, self._deployed.java_home, self._console)
        build_extension(self._toolchain, self.java_home)
        end_processes(self.settings.home)
        prepare(self._deployed, self.java_home)
        self.supervisor.start(self._services())
        lifecycle.start_services(self.settings, self.supervisor, self._services(), Console(quiet=True))

    def down(self) -> None:
        """Stop as ``./lakehouse down`` does: the jobs with savepoints first."""
        lifecycle.down(self._deployed, self._console)

    def await_ready(self) -> None:
        """Wait until every service does its work.

        Raises:
            ScenarioError: one does not.
        """
        for service in self._services():
            until(service.is_ready, f"{service.name} is ready again")

    def bypass_guard(self, *, bypassed: bool) -> None:
        """Let Flink reach the catalog without the guard, or by way of it again."""
        self.before_guard.upstream = self._catalog if bypassed else self._guard

    def pid(self, service: str) -> int:
        """Process id of the service."""
        return next(int(info["pid"]) for info in self.supervisor.processes() if info["name"] == service)

    def kill(self, service: str) -> None:
        """Kill the service with SIGKILL, with its workers; the supervisor starts it again."""
        process = psutil.Process(self.pid(service))
        victims = [process, *process.children(recursive=True)]
        for victim in victims:
            victim.kill()
        until(lambda: not any(victim.is_running() for victim in victims), f"the processes of {service} are gone")

    def stop(self, service: str) -> int:
        """Freeze the service with SIGSTOP; returns its process id for :meth:`resume`."""
        pid = self.pid(service)
        os.kill(pid, signal.SIGSTOP)
        return pid

    def resume(self, pid: int) -> None:
        """Let a frozen process go on."""
        os.kill(pid, signal.SIGCONT)

    def close(self, *, remove: bool) -> None:
        """Stop the stack and the proxies; with ``remove`` nothing is left of it.

        A home that is kept can be started with ``LAKEHOUSE_HOME=<home> ./lakehouse up``.
        """
        self.before_guard.arm(None)
        self.before_catalog.arm(None)
        self.down()
        for proxy in (self.before_guard, self.before_catalog):
            self._loop.run(proxy.aclose())
        self._loop.close()
        if self.disk is not None:
            self.disk.unmount()
        if remove:
            self._remove()
        else:
            local_env = self.settings.local_env
            local_env.write_text(local_env.read_text().partition(PROXIED)[0])

    def _mount(self, volume: Volume | None) -> SmallDisk | None:
        if volume is None:
            return None
        try:
            return volume.mount(self.home)
        except ScenarioSkippedError:
            self._remove()
            raise

    def _remove(self) -> None:
        shutil.rmtree(self.home)
        with suppress(OSError):  # others were kept in it
            self.home.parent.rmdir()

    def _listen(self, proxy: CatalogProxy | Relay) -> str:
        return f"http://{HOST}:{self._loop.listen(proxy.serve)}"

    def _services(self) -> tuple[Service, ...]:
        chosen = (service for service in services(self._deployed, self.java_home) if service.name in NEEDED)
        options = tuple(word for name, value in FLINK_OPTIONS.items() for word in ("-D", f"{name}={value}"))
        return tuple(
            replace(service, command=service.command + options)
            if service.name in {"flink-jobmanager", "flink-taskmanager"}
            else service
            for service in chosen
        )
