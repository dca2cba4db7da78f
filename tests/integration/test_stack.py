"""The local stack as people use it: what it shows, what it refuses, what it survives."""

import fcntl
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import httpx
import psutil
import pyarrow as pa
import pytest
import redis
from in_process import evaluate
from rich.console import Console
from waiting import until

import contracts
from lakehouse_assets.describe import table_key
from lakehouse_assets.streaming.checks import streaming_checks
from lakehouse_assets.streaming.reconciliation_check import reconciliation_checks
from resources.catalog import open_catalog
from settings import Settings
from sources.ledger import Ledger
from sources.simulate import SimulationOptions, run_simulation
from stack.cli import toolchain_folder
from stack.errors import StackError
from stack.local import lifecycle
from stack.local.local_env import load_local_settings
from stack.local.priority import LOWEST, TABLES
from stack.local.processes import processes_of
from stack.local.status import ServiceStatus, StackStatus, status
from stack.local.supervisor import Supervisor

EIGHT_GIB_IN_MIB = 8 * 1024
QUIET = Console(quiet=True)


def service(found: StackStatus, name: str) -> ServiceStatus:
    return next(entry for entry in found.services if entry.name == name)


def stack_processes(settings: Settings) -> list[psutil.Process]:
    return processes_of(settings.home)


def test_status_tells_of_every_service_and_job(settings: Settings) -> None:
    found = status(settings)
    assert {entry.name for entry in found.services} == {
        "store",
        "kafka",
        "commit-guard",
        "dead-letters",
        "hot-view",
        "redis",
        "flink-jobmanager",
        "flink-taskmanager",
        "dagster-code",
        "dagster-webserver",
        "dagster-daemon",
        "api",
        "job-keeper",
    }
    assert all(entry.ready and entry.pid and entry.address for entry in found.services)
    assert {job.family for job in found.jobs} == {family.name for family in contracts.families()}
    assert all(job.state == "running" for job in found.jobs)
    assert 0 < found.memory_mib < EIGHT_GIB_IN_MIB


def test_nothing_listens_beyond_the_loopback_address(settings: Settings) -> None:
    listening = [
        (process.name(), connection.laddr.ip)
        for process in stack_processes(settings)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening
    assert [entry for entry in listening if entry[1] not in {"127.0.0.1", "::1", "::ffff:127.0.0.1"}] == []


def test_store_catalog_and_cache_refuse_anonymous_access(settings: Settings) -> None:
    assert httpx.get(f"{settings.s3_endpoint}/warehouse").status_code == httpx.codes.FORBIDDEN
    catalog = httpx.get(f"{settings.catalog_uri}/v1/namespaces")
    assert catalog.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}
    with pytest.raises(redis.AuthenticationError), redis.Redis(settings.redis_host, settings.redis_port) as client:
        client.ping()


def test_secrets_are_for_the_owner_only(settings: Settings) -> None:
    holders = [settings.local_env, *(path for path in (settings.home / "conf").rglob("*") if path.is_file())]
    secret = settings.s3_secret_key.get_secret_value()
    with_secret = [path for path in holders if secret in path.read_text(errors="replace")]
    assert settings.local_env in with_secret
    assert [path for path in with_secret if path.stat().st_mode & 0o077] == []
    for log in (settings.home / "logs").glob("*.log"):
        assert secret not in log.read_text(errors="replace"), log


def test_a_job_reads_its_topic_once_and_deduplicates_once(settings: Settings) -> None:
    for job in status(settings).jobs:
        plan = httpx.get(f"{settings.flink_url}/jobs/{job.job_id}").json()
        names = [vertex["name"] for vertex in plan["vertices"]]
        (source,) = (name for name in names if "Source:" in name)
        assert "ResumedWatermark" in source
        assert sum(name.count("Deduplicate") for name in names) == 1


def test_files_are_written_in_tasks_of_their_own(settings: Settings) -> None:
    """Closing a file at a checkpoint must not hold up the task that reads the topic and feeds the hot view."""
    for job in status(settings).jobs:
        plan = httpx.get(f"{settings.flink_url}/jobs/{job.job_id}").json()
        (source,) = (vertex["name"] for vertex in plan["vertices"] if "Source:" in vertex["name"])
        assert "hot_readings" in source
        assert "Iceberg" not in source


def test_a_second_up_changes_nothing(settings: Settings) -> None:
    before = {entry.name: entry.pid for entry in status(settings).services}
    lifecycle.up(settings.home, settings.toolchain, QUIET)
    assert {entry.name: entry.pid for entry in status(settings).services} == before


@pytest.mark.parametrize("name", ["redis", "api", "commit-guard"])
def test_a_service_that_dies_is_restarted_and_status_says_so(settings: Settings, name: str) -> None:
    before = service(status(settings), name)
    assert before.pid is not None
    process = psutil.Process(before.pid)
    workers = process.children(recursive=True)
    process.kill()

    def restarted() -> bool:
        now = service(status(settings), name)
        return now.ready and now.pid != before.pid

    until(restarted, f"{name} runs again")
    until(lambda: not any(map(is_alive, workers)), "no worker of the first outlives it")
    after = service(status(settings), name)
    assert after.restarts == before.restarts + 1
    assert after.last_exit is not None
    assert "SIGKILL" in after.last_exit


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Numbers:
    """Counts of a family's rows that lie in a simulated interval, read by DuckDB from what PyIceberg scans."""

    def __init__(self, settings: Settings, ledger: Ledger, start: datetime, end: datetime) -> None:
        self._settings = settings
        self._family = ledger.family
        self._filter = f">= '{start.isoformat()}' and {{0}} < '{end.isoformat()}'"

    def table(self, identifier: str, column: str) -> pa.Table:
        condition = f"{column} {self._filter.format(column)}"
        # opened anew: a catalog that was away a moment ago is no reason to fail
        return open_catalog(self._settings).load_table(identifier).scan(row_filter=condition).to_arrow()

    def bronze(self) -> tuple[int, int]:
        """Rows, and distinct places in Kafka."""
        rows = self.table(f"bronze.{self._family}_events", "event_time")
        places = "SELECT count(*), count(DISTINCT (kafka_partition, kafka_offset)) FROM rows"
        counted = duckdb.connect().register("rows", rows).execute(places).fetchone()
        assert counted is not None
        return counted[0], counted[1]


def expected_of(ledger: Ledger) -> tuple[int, int]:
    published = ledger.acknowledged - ledger.by_kind.malformed
    return published, published


@pytest.mark.parametrize("victim", ["flink-taskmanager", "flink-jobmanager", "kafka", "store"])
def test_no_event_is_lost_or_doubled_when_a_service_is_killed(settings: Settings, victim: str) -> None:
    """A history of its own per victim streams while the victim dies; malformed records are dropped."""
    day = {"flink-taskmanager": 1, "flink-jobmanager": 2, "kafka": 3, "store": 4}[victim]
    start = datetime(2001, 3, day, tzinfo=UTC)
    end = start + timedelta(hours=4)
    pid = service(status(settings), victim).pid
    assert pid is not None
    killed = []

    def kill_midway(*, sent: int, acknowledged: int, waiting_for_broker: bool) -> None:
        if acknowledged > 20_000 and not killed:
            psutil.Process(pid).kill()
            killed.append(pid)

    options = SimulationOptions(
        families=(contracts.family("traffic"),), sensors=50, start=start, end=end, malformed=0.01, rate=20_000
    )
    (ledger,) = run_simulation(options, settings, kill_midway)
    assert killed
    assert ledger.failed == ledger.unknown == 0
    assert ledger.by_kind.malformed > 0

    numbers = Numbers(settings, ledger, start, end)
    until(lambda: read(numbers.bronze) >= expected_of(ledger), "bronze holds every acknowledged event")
    assert numbers.bronze() == expected_of(ledger)
    until(lambda: all(entry.ready for entry in status(settings).services), "every service is ready again")
    assert service(status(settings), victim).restarts > 0


def test_tasks_that_write_tables_give_way_to_the_sources(settings: Settings) -> None:
    """Also in a TaskManager that the keeper of the jobs has seen start: tests before have killed the first."""
    tasks = set()
    for job in status(settings).jobs:
        plan = httpx.get(f"{settings.flink_url}/jobs/{job.job_id}").json()
        tasks |= {vertex["name"][:15] for vertex in plan["vertices"]}
    pid = service(status(settings), "flink-taskmanager").pid

    def nice_of_tasks() -> dict[str, set[int]]:
        found: dict[str, set[int]] = {}
        for thread in Path(f"/proc/{pid}/task").iterdir():
            name = (thread / "comm").read_text().rstrip("\n")
            if name in tasks:
                found.setdefault(name, set()).add(os.getpriority(os.PRIO_PROCESS, int(thread.name)))
        return found

    own = os.getpriority(os.PRIO_PROCESS, pid or 0)
    source, *others = sorted(tasks, key=lambda name: not name.startswith("Source: "))
    assert others
    expected = {source: {own}, **{name: {min(own + TABLES, LOWEST)} for name in others}}
    until(lambda: nice_of_tasks() == expected, f"tasks give way: {expected}")


def read(look: Callable[[], tuple[int, int]]) -> tuple[int, int]:
    """What ``look`` finds, nothing while the store is away."""
    try:
        return look()
    except (OSError, httpx.HTTPError) as error:
        print(f"not readable now: {error}")
        return 0, 0


def test_windows_equal_their_recomputation_from_bronze(settings: Settings) -> None:
    """The live minutes that are closed: DuckDB computes each window from bronze."""
    family = contracts.family("energy")
    started = datetime.now(UTC)
    first = (started + timedelta(minutes=1)).replace(second=0, microsecond=0)
    # so long that the watermark passes the first whole minute
    duration = first + timedelta(minutes=1, seconds=30) - started
    options = SimulationOptions(families=(family,), sensors=40, rate=200, duration=duration)
    (ledger,) = run_simulation(options, settings)
    numbers = Numbers(settings, ledger, first, first + timedelta(minutes=1))

    def windows() -> int:
        return sum(numbers.table("silver.energy_1m", "window_start")["event_count"].to_pylist())

    expected_events = ledger.events_by_minute[f"{first:%Y-%m-%dT%H:%MZ}"]
    until(lambda: windows() == expected_events, f"the window of {first:%H:%M} counts {expected_events} events")
    connection = duckdb.connect()
    connection.register("bronze", numbers.table("bronze.energy_events", "event_time"))
    connection.register("silver", numbers.table("silver.energy_1m", "window_start"))
    differing = connection.execute("""
        WITH wanted AS (
            SELECT sensor_id, count(*) AS n, count(voltage_v) AS c, min(voltage_v) AS lo, max(voltage_v) AS hi,
                round(avg(voltage_v), 9) AS mean,
                last(voltage_v ORDER BY kafka_offset) FILTER (WHERE voltage_v IS NOT NULL) AS final
            FROM bronze GROUP BY sensor_id
        ), found AS (
            SELECT sensor_id, event_count, voltage_v_count, voltage_v_min, voltage_v_max,
                round(voltage_v_mean, 9), voltage_v_last
            FROM silver
        )
        (FROM wanted EXCEPT FROM found) UNION ALL (FROM found EXCEPT FROM wanted)
    """).fetchall()
    assert differing == []

    # the same by the check, for every column of every closed window
    checks = {key: check for check in (*reconciliation_checks(), *streaming_checks()) for key in check.check_keys}
    for declared in (contracts.silver_1m(family), contracts.silver_5m(family)):
        check = checks[dg.AssetCheckKey(table_key(declared), "reconciliation")]

        def settled(check: dg.AssetChecksDefinition = check) -> bool:
            said = evaluate(settings, check)
            assert said.passed, (said.description, said.metadata["expectations"])
            reached = said.metadata.get("until")
            return reached is not None and reached.value >= (first + timedelta(minutes=1)).timestamp()

        until(settled, f"the windows of {declared.identifier} equal their recomputation up to {first:%H:%M}")
        contract = dg.AssetCheckKey(table_key(declared), "contract")
        meets_contract = evaluate(settings, checks[contract], contract)
        assert meets_contract.passed, meets_contract.metadata["expectations"]


def test_down_and_up_lose_and_double_nothing(settings: Settings) -> None:
    start = datetime(2001, 4, 1, tzinfo=UTC)
    end = start + timedelta(hours=3)
    family = contracts.family("weather")
    (ledger,) = run_simulation(SimulationOptions(families=(family,), sensors=60, start=start, end=end), settings)
    ports = [port for name, port in settings.ports.model_dump().items() if name]
    assert lifecycle.down(settings, QUIET)

    assert stack_processes(settings) == []
    assert not (settings.home / "run").exists()
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0, f"port {port} still listens"
    assert not lifecycle.down(settings, QUIET)

    lifecycle.up(settings.home, settings.toolchain, QUIET)
    numbers = Numbers(settings, ledger, start, end)
    until(lambda: numbers.bronze() >= expected_of(ledger), "bronze holds every acknowledged event")
    assert numbers.bronze() == expected_of(ledger)


def test_up_cleans_up_after_a_supervisor_that_was_killed(settings: Settings) -> None:
    pid = int((settings.home / "run" / "supervisord.pid").read_text())
    psutil.Process(pid).kill()
    until(lambda: not Supervisor(settings).is_running(), "the supervisor is gone")
    assert not status(settings).running
    left_behind = {process.pid for process in stack_processes(settings)}
    assert left_behind

    lifecycle.up(settings.home, settings.toolchain, QUIET)
    # each was ready by then; one that is busy may be late with the answer that it is
    until(lambda: all(entry.ready for entry in status(settings).services), "every service is ready")
    assert left_behind.isdisjoint(process.pid for process in stack_processes(settings))


def test_two_commands_cannot_start_one_stack(settings: Settings, root: Path) -> None:
    holder = os.open(settings.home, os.O_RDONLY)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        refused = subprocess.run([root / "lakehouse", "down"], capture_output=True, text=True, check=False)
    finally:
        os.close(holder)
    assert refused.returncode == 1
    assert "another command" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.fixture
def other_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("LAKEHOUSE_HOME", str(home))
    return home


def test_a_taken_port_is_named_with_who_holds_it(other_home: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        load_local_settings(other_home, choose_ports=True)
        local_env = other_home / "local.env"
        lines = local_env.read_text().splitlines()
        local_env.write_text(
            "\n".join(f"LAKEHOUSE_PORTS__KAFKA={port}" if "PORTS__KAFKA=" in line else line for line in lines)
        )
        with pytest.raises(StackError, match=rf"port {port} of kafka is taken by .*process {os.getpid()}"):
            lifecycle.up(other_home, toolchain_folder(), QUIET)
    assert not (other_home / "run").exists()


def test_an_old_java_is_refused(other_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = other_home / "jdk11"
    (old / "bin").mkdir(parents=True)
    (old / "bin" / "java").write_text("#!/bin/sh\n")
    (old / "bin" / "java").chmod(0o755)
    (old / "release").write_text('JAVA_VERSION="11.0.2"\n')
    monkeypatch.setenv("LAKEHOUSE_JAVA_HOME", str(old))
    with pytest.raises(StackError, match=r"is Java 11: point it at Java 17 or 21"):
        lifecycle.up(other_home, toolchain_folder(), QUIET, choose_ports=True)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="mounting a small disk needs root")
def test_a_full_disk_is_refused(other_home: Path) -> None:
    small = other_home / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", small], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine does not let a small disk be mounted")
    try:
        with pytest.raises(StackError, match=r"are free at .* needed: free some space"):
            lifecycle.up(small, toolchain_folder(), QUIET, choose_ports=True)
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_command_without_a_stack_says_how_to_start_one(other_home: Path, root: Path) -> None:
    refused = subprocess.run([root / "lakehouse", "status"], capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "run ./lakehouse up" in refused.stderr


def test_a_later_start_runs_nothing_but_the_command_line(root: Path) -> None:
    traced = subprocess.run(["sh", "-x", root / "lakehouse", "--help"], capture_output=True, text=True, check=True)
    commands = [line for line in traced.stderr.splitlines() if line.startswith("+ ")]
    assert [line for line in commands if " pip " in line or "uv" in line.split()] == []
    assert commands[-1].endswith("-m stack --help")
