"""``up`` and ``down``: the order in which things start and stop, and what is checked before."""

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
from rich.console import Console
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from contracts import all_tables, families
from resources.catalog import ensure_tables, open_catalog
from resources.kafka import ensure_topics
from settings import Settings
from stack.errors import StackError
from stack.jobs.operations import stop_jobs
from stack.local.local_env import is_free, load_local_settings
from stack.local.processes import end_processes
from stack.local.service import Service, Stage
from stack.local.services import prepare, services
from stack.local.supervisor import Supervisor
from stack.toolchain.flink_extension import build_extension
from stack.toolchain.jars import fetch_jars
from stack.toolchain.java import find_java

MINIMUM_FREE_BYTES = 3 << 30
PROBE_INTERVAL_S = 0.3
LOG_TAIL_LINES = 15


def up(home: Path, toolchain: Path, console: Console, *, choose_ports: bool = False) -> Settings:
    """Start every service, create tables and topics, and return once all are ready; safe to repeat.

    Raises:
        StackError: something keeps the stack from starting; what was started is stopped again.
    """
    home.mkdir(parents=True, exist_ok=True)
    with _only_one(home):
        _check_disk(home)
        settings = load_local_settings(home, choose_ports=choose_ports)
        fetch_jars(toolchain, console)
        java_home = find_java(toolchain, settings.java_home, console)
        build_extension(toolchain, java_home)
        all_services = services(settings, java_home)
        supervisor = Supervisor(settings)
        fresh = not supervisor.is_running()
        if fresh:
            if ended := end_processes(settings.home):
                console.print(f"ended {ended} processes that an earlier start had left behind")
            _check_ports(all_services)
            prepare(settings, java_home)
            supervisor.start(all_services)
        try:
            start_services(settings, supervisor, all_services, console)
        except BaseException:
            if fresh:
                console.print("stopping what was started")
                _stop(settings, supervisor, all_services, console)
            raise
        return settings


def down(settings: Settings, console: Console) -> bool:
    """Stop the jobs with savepoints, then every service in reverse order; returns whether anything ran.

    Raises:
        StackError: another command is starting or stopping this stack.
    """
    with _only_one(settings.home):
        supervisor = Supervisor(settings)
        if not supervisor.is_running():
            ended = end_processes(settings.home)
            supervisor.clear()
            return ended > 0
        java_home = Path(os.devnull)  # no service is started
        _stop(settings, supervisor, services(settings, java_home), console)
        return True


def start_services(
    settings: Settings, supervisor: Supervisor, all_services: Sequence[Service], console: Console
) -> None:
    """Start services stage by stage, with topics and tables in between, and return once all are ready.

    Raises:
        StackError: one is not ready in time.
    """
    for stage in Stage:
        members = [service for service in all_services if service.stage is stage]
        supervisor.start_services([service.name for service in members])
        for service in members:
            await_ready(service, supervisor, console)
        if stage is Stage.INFRASTRUCTURE:
            for topic in ensure_topics(settings, families()):
                console.print(f"  created topic {topic}")
            catalog = open_catalog(settings)
            for change in ensure_tables(catalog, all_tables(), commit_retries=settings.commit_retries):
                console.print(f"  {change}")


def _stop(settings: Settings, supervisor: Supervisor, all_services: Sequence[Service], console: Console) -> None:
    running = {info["name"] for info in supervisor.processes() if info["statename"] != "STOPPED"}
    ordered = [service.name for service in reversed(all_services)]
    # the keeper first: it would submit again what is stopped here
    keeper, *others = ordered
    if keeper in running:
        supervisor.stop_service(keeper)
        stop_jobs(settings, families(), lambda line: console.print(f"  {line}"), stay_stopped=False)
    for name in others:
        if name in running:
            supervisor.stop_service(name)
            console.print(f"  stopped {name}")
    supervisor.shut_down()
    end_processes(settings.home)
    supervisor.clear()


def await_ready(service: Service, supervisor: Supervisor, console: Console) -> None:
    """Wait until the service does its work.

    Raises:
        StackError: it does not in its time; the message ends with the end of its log.
    """
    retrying = Retrying(
        retry=retry_if_result(lambda ready: not ready),
        stop=stop_after_delay(service.start_seconds),
        wait=wait_fixed(PROBE_INTERVAL_S),
    )
    with console.status(f"waiting for {service.name}"):
        try:
            retrying(service.is_ready)
        except RetryError as error:
            log = supervisor.log_file(service.name)
            tail = (
                "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]) if log.exists() else ""
            )
            raise StackError(
                f"{service.name} was not ready after {service.start_seconds} s; the end of {log}:\n{tail}"
            ) from error
    console.print(f"  {service.name} is ready: {service.address}")


def _check_disk(home: Path) -> None:
    free = shutil.disk_usage(home).free
    if free < MINIMUM_FREE_BYTES:
        raise StackError(
            f"only {free / (1 << 30):.1f} GiB are free at {home} and {MINIMUM_FREE_BYTES >> 30} GiB are needed: "
            "free some space, or set LAKEHOUSE_HOME to a folder on another disk"
        )


def _check_ports(all_services: Sequence[Service]) -> None:
    taken = [(service, port) for service in all_services for port in service.ports if not is_free(port)]
    if not taken:
        return
    lines = [f"port {port} of {service.name} is taken{_holder(port)}" for service, port in taken]
    raise StackError(
        "; ".join(lines) + ": stop what holds it, or change LAKEHOUSE_PORTS__* in local.env, "
        "or start a new stack with `LAKEHOUSE_HOME=<folder> ./lakehouse up --free-ports`"
    )


def _holder(port: int) -> str:
    try:
        connections = psutil.net_connections("inet")
    except psutil.AccessDenied:
        return ""
    for connection in connections:
        if connection.laddr and connection.laddr.port == port and connection.pid:
            return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """Hold an advisory lock on the folder itself; the system drops it when the process ends."""
    descriptor = os.open(home, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StackError(f"another command is starting or stopping the stack in {home}: wait for it") from error
    else:
        yield
    finally:
        os.close(descriptor)
