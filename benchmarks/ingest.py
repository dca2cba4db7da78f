"""How fast the Flink jobs take a full topic, with broker, store and the rest of the stack beside them.

Families of their own, with topics and tables of their own, so that nobody's data is touched; the jobs that run
otherwise are stopped meanwhile. Measured once for bronze alone and once for all that a job writes.
"""

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
from confluent_kafka.admin import AdminClient
from pydantic import BaseModel
from pyiceberg.catalog import Catalog
from rich.console import Console
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from benchmarks.processes import cpu_seconds, used
from contracts import Family, LakehouseError, Table, bronze_events, families, silver_1m, silver_5m
from resources.catalog import ensure_tables, open_catalog
from resources.kafka import client_config, end_offsets
from settings import Settings
from settings.model import ROOT
from sources.simulate import SimulationOptions, run_simulation
from stack.jobs.flink_rest import FlinkRest
from stack.jobs.operations import start_jobs, stop_jobs
from stack.local.services.flink import client_environment
from stack.toolchain.java import find_java

SPAN = timedelta(minutes=5)
"""Of event time: what is published is of the last minutes, so that the hot path has its part."""
SENSORS = 5_000
SETTLED, NEARLY_DONE = 0.4, 0.95
"""Shares of the events between which the rate is taken: the JVM is warm by then, and no topic is empty yet."""
PATIENCE_S = 900
BRONZE_VERTEX = "bronze_events"

Say = Callable[[str], None]


class IngestError(LakehouseError):
    """The jobs of a measurement did not get through."""


class IngestRun(BaseModel):
    """One measurement; ``events_per_s`` is that in flight, of all families together, ``lag`` in events."""

    events: int
    events_per_s: float
    cpu_s_per_million: dict[str, float]
    engine_cpu_s_per_million: float
    whole_run_s: float
    bytes_per_row: float
    lag: int


class IngestReport(BaseModel):
    """Bronze alone, and all that the jobs write."""

    cores: int
    bronze: IngestRun
    all: IngestRun


def measure_ingest(settings: Settings, *, events: int, say: Say) -> IngestReport:
    """Fill topics with ``events`` events of all families together and measure how fast jobs empty them.

    Raises:
        IngestError: the jobs do not get through in time.
    """
    members = tuple(replace(member, name=f"bench_{member.name}") for member in families())
    catalog = open_catalog(settings)
    stop_jobs(settings, families(), say, stay_stopped=True)
    try:
        _clean(settings, catalog, members)
        _fill(settings, members, events, say)
        bronze = _measure(settings, catalog, members, ["bronze"], say)
        everything = _measure(settings, catalog, members, None, say)
    finally:
        _clean(settings, catalog, members)
        start_jobs(settings, families())
    return IngestReport(cores=psutil.cpu_count() or 1, bronze=bronze, all=everything)


def _fill(settings: Settings, members: Sequence[Family], events: int, say: Say) -> None:
    end = datetime.now(UTC)
    say(f"publishing {events:,} events")
    # nominal: sensors that are away send nothing
    interval = SPAN * SENSORS * len(members) / events
    options = SimulationOptions(
        families=tuple(replace(member, reporting_interval=interval) for member in members),
        sensors=SENSORS,
        start=end - SPAN,
        end=end,
    )
    run_simulation(options, settings)


def _measure(
    settings: Settings, catalog: Catalog, members: Sequence[Family], sinks: list[str] | None, say: Say
) -> IngestRun:
    tables = [table for member in members for table in _tables(member)]
    _drop(catalog, tables)
    ensure_tables(catalog, tables, commit_retries=settings.commit_retries)
    total = sum(sum(end_offsets(settings, member.topic).values()) for member in members)
    what = "bronze alone" if sinks else "all tables and the hot topics"
    say(f"measuring {what}: {total:,} events")
    begun = time.monotonic()
    jobs = _submit(settings, members, sinks)
    try:
        rate, spent, counted = _watch(settings, jobs, total, say)
        _await_rows(catalog, members, total)
        whole = time.monotonic() - begun
    finally:
        for job in jobs:
            FlinkRest(settings.flink_url).cancel(job)
    snapshots = [catalog.load_table(bronze_events(member).identifier).inspect.files() for member in members]
    rows = sum(sum(files["record_count"].to_pylist()) for files in snapshots)
    size = sum(sum(files["file_size_in_bytes"].to_pylist()) for files in snapshots)
    per_million = {name: round(seconds / counted * 1e6, 2) for name, seconds in spent.items()}
    return IngestRun(
        events=total,
        events_per_s=round(rate),
        cpu_s_per_million=per_million,
        engine_cpu_s_per_million=per_million["flink-taskmanager"],
        whole_run_s=round(whole, 1),
        bytes_per_row=round(size / rows, 1),
        lag=total - rows,
    )


def _watch(settings: Settings, jobs: Sequence[str], total: int, say: Say) -> tuple[float, dict[str, float], int]:
    """Rate, CPU time by service and events between the two shares of the events."""
    client = FlinkRest(settings.flink_url)
    deadline = time.monotonic() + PATIENCE_S
    start: tuple[float, int, dict[str, float]] | None = None
    while time.monotonic() < deadline:
        done, now = sum(client.records_read(job, BRONZE_VERTEX) for job in jobs), time.monotonic()
        if start is None and done >= SETTLED * total:
            start = (now, done, cpu_seconds(settings))
        elif start is not None and done >= NEARLY_DONE * total:
            seconds, counted = now - start[0], done - start[1]
            say(f"  {counted:,} events in {seconds:.1f} s")
            return counted / seconds, used(start[2], cpu_seconds(settings)), counted
        time.sleep(0.5)
    raise IngestError(f"the jobs read less than {total:,} events in {PATIENCE_S} s: ./lakehouse logs says why")


def _await_rows(catalog: Catalog, members: Sequence[Family], total: int) -> None:
    retrying = Retrying(
        retry=retry_if_result(lambda rows: rows < total), stop=stop_after_delay(PATIENCE_S), wait=wait_fixed(1)
    )

    def rows() -> int:
        return sum(catalog.load_table(bronze_events(member).identifier).scan().count() for member in members)

    try:
        retrying(rows)
    except RetryError as error:
        raise IngestError(f"bronze holds {rows():,} of {total:,} events after {PATIENCE_S} s") from error


def _submit(settings: Settings, members: Sequence[Family], sinks: list[str] | None) -> list[str]:
    jobs = [
        {
            "family": member.name.removeprefix("bench_"),
            "called": member.name,
            "sinks": sinks,
            "restore_from": None,
            "resume": None,
        }
        for member in members
    ]
    python = settings.toolchain / "streaming" / "bin" / "python"
    command: list[str | Path] = [python, "-m", "streaming.submit"]
    environment = client_environment(
        settings, find_java(settings.toolchain, settings.java_home, Console(stderr=True))
    )
    submitted = subprocess.run(
        command,
        input="\n".join(map(json.dumps, jobs)),
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **_lakehouse(settings), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    outcomes = [json.loads(line) for line in submitted.stdout.splitlines() if line.startswith("{")]
    accepted: list[str] = [outcome["job_id"] for outcome in outcomes if "job_id" in outcome]
    if submitted.returncode:
        for job in accepted:
            FlinkRest(settings.flink_url).cancel(job)
        errors = [outcome["error"] for outcome in outcomes if "error" in outcome]
        errors = errors or submitted.stderr.strip().splitlines()[-1:]
        raise IngestError(f"the jobs were not accepted: {'; '.join(errors)}")
    return accepted


def _lakehouse(settings: Settings) -> dict[str, str]:
    return {"LAKEHOUSE_HOME": str(settings.home), "LAKEHOUSE_TOOLCHAIN": str(settings.toolchain)}


def _tables(member: Family) -> tuple[Table, ...]:
    return bronze_events(member), silver_1m(member), silver_5m(member)


def _clean(settings: Settings, catalog: Catalog, members: Sequence[Family]) -> None:
    _drop(catalog, [table for member in members for table in _tables(member)])
    admin = AdminClient(client_config(settings))
    present = set(admin.list_topics(timeout=10).topics)
    gone = [topic for member in members for topic in (member.topic, member.hot_topic) if topic in present]
    for future in admin.delete_topics(gone).values() if gone else ():
        future.result()
    retrying = Retrying(retry=retry_if_result(bool), stop=stop_after_delay(60), wait=wait_fixed(0.2))
    retrying(lambda: set(gone) & set(admin.list_topics(timeout=10).topics))


def _drop(catalog: Catalog, tables: Sequence[Table]) -> None:
    for table in tables:
        if catalog.table_exists(table.identifier):
            catalog.purge_table(table.identifier)
