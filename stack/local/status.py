"""``status``: what runs, where, since when, with how much memory."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
from pydantic import BaseModel

from contracts import Family, families
from resources.kafka import KafkaUnavailableError, consumer_lag
from settings import Settings
from stack.jobs.flink_rest import FlinkRest, FlinkUnavailableError
from stack.local.processes import processes_of
from stack.local.service import Service
from stack.local.services import services
from stack.local.supervisor import Supervisor


class ServiceStatus(BaseModel):
    """State of one service; memory is the resident set of the process and its children."""

    name: str
    state: str
    ready: bool
    address: str
    pid: int | None = None
    memory_mib: int | None = None
    uptime_s: int | None = None
    restarts: int = 0
    last_exit: str | None = None


class JobStatus(BaseModel):
    """State of one family's Flink job; ``lag`` counts records that no checkpoint covers yet."""

    family: str
    state: str
    lag: int | None = None
    job_id: str | None = None
    uptime_s: int | None = None
    completed_checkpoints: int | None = None


class StackStatus(BaseModel):
    """State of the whole stack."""

    running: bool
    left_behind: int
    """Processes that an earlier start has left behind, without its supervisor."""
    home: str
    memory_mib: int
    services: list[ServiceStatus]
    jobs: list[JobStatus]


def status(settings: Settings) -> StackStatus:
    """Look at every service and job now."""
    all_services = services(settings, Path())
    supervisor = Supervisor(settings)
    running = supervisor.is_running()
    listed = _service_statuses(all_services, supervisor) if running else []
    has_broker = any(service.name == "kafka" and service.ready for service in listed)
    return StackStatus(
        running=running,
        left_behind=0 if running else len(processes_of(settings.home)),
        home=str(settings.home),
        memory_mib=sum(service.memory_mib or 0 for service in listed),
        services=listed,
        jobs=_job_statuses(settings, has_broker) if running else [],
    )


def _service_statuses(all_services: Sequence[Service], supervisor: Supervisor) -> list[ServiceStatus]:
    processes = {info["name"]: info for info in supervisor.processes()}
    exits = supervisor.exits()
    # one that is slow to answer holds up none of the others
    with ThreadPoolExecutor(len(all_services)) as pool:
        answering = {
            service.name: pool.submit(service.is_ready)
            for service in all_services
            if processes[service.name]["statename"] == "RUNNING"
        }
    statuses = []
    for service in all_services:
        info = processes[service.name]
        reasons = exits.get(service.name, [])
        up = service.name in answering
        statuses.append(
            ServiceStatus(
                name=service.name,
                state=info["statename"].lower(),
                ready=up and answering[service.name].result(),
                address=service.address,
                pid=info["pid"] or None,
                memory_mib=_memory_mib(info["pid"]) if info["pid"] else None,
                uptime_s=int(time.time() - info["start"]) if up else None,
                restarts=len(reasons),
                last_exit=reasons[-1] if reasons else None,
            )
        )
    return statuses


def _memory_mib(pid: int) -> int | None:
    try:
        process = psutil.Process(pid)
        members = [process, *process.children(recursive=True)]
        return sum(member.memory_info().rss for member in members) >> 20
    except psutil.NoSuchProcess:
        return None


def _job_statuses(settings: Settings, has_broker: bool) -> list[JobStatus]:
    client = FlinkRest(settings.flink_url)
    try:
        newest = {job.name: job for job in reversed(client.jobs())}
        statuses = []
        for family in families():
            job = newest.get(family.job_name)
            if job is None:
                statuses.append(JobStatus(family=family.name, state="absent"))
                continue
            statuses.append(
                JobStatus(
                    family=family.name,
                    state=job.state.lower(),
                    job_id=job.job_id,
                    uptime_s=int(time.time() - job.started_ms / 1000),
                    completed_checkpoints=client.completed_checkpoints(job.job_id),
                    lag=_lag(settings, family) if has_broker else None,
                )
            )
    except FlinkUnavailableError:
        return [JobStatus(family=family.name, state="unknown") for family in families()]
    return statuses


def _lag(settings: Settings, family: Family) -> int | None:
    try:
        return consumer_lag(settings, family.topic, family.job_name)
    except KafkaUnavailableError:
        return None
