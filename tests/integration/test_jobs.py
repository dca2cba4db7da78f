"""Stopping, starting and upgrading jobs while events come; DuckDB holds the tables against each other."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import duckdb
import httpx
import pytest
from pyiceberg.types import DoubleType
from rich.console import Console
from simulation import Simulation
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed
from waiting import until

import contracts
from contracts import all_tables
from resources.catalog import open_catalog
from resources.kafka import end_offsets
from settings import Settings
from settings.model import ROOT
from sources.ledger import Ledger
from sources.simulate import SimulationOptions, run_simulation
from stack.jobs.flink_rest import FlinkRest
from stack.jobs.keeper import submit_missing
from stack.jobs.operations import start_jobs, stop_jobs
from stack.jobs.rewind import RewindError
from stack.jobs.state import STATE_LAYOUT, load_state, save_state
from stack.jobs.upgrade import upgrade_jobs
from stack.local.services.flink import client_environment
from stack.local.status import status
from stack.toolchain.java import find_java

FAMILY = contracts.family("energy")
OTHER_FAMILY = contracts.family("weather")
PATIENCE_S = 180


@pytest.fixture
def simulation(settings: Settings) -> Iterator[Simulation]:
    running = Simulation(settings, FAMILY)
    yield running
    running.end()


def rows(settings: Settings, identifier: str, since: datetime) -> object:
    declared = contracts.table(identifier)
    condition = f"{declared.event_time} >= '{since.isoformat()}'"
    return open_catalog(settings).load_table(identifier).scan(row_filter=condition).to_arrow()


def places(settings: Settings, ledger: Ledger) -> tuple[int, int]:
    """Rows of bronze that the ledger's offsets are of, and how many places in Kafka those are."""
    bronze = open_catalog(settings).load_table(f"bronze.{FAMILY.name}_events")
    ranges = " or ".join(
        f"(kafka_partition = {p} and kafka_offset >= {r.first_offset} and kafka_offset <= {r.last_offset})"
        for p, r in ledger.partitions.items()
    )
    found = bronze.scan(row_filter=ranges, selected_fields=("kafka_partition", "kafka_offset")).to_arrow()
    with duckdb.connect() as connection:
        counted = (
            connection.register("found", found)
            .execute("SELECT count(*), count(DISTINCT (kafka_partition, kafka_offset)) FROM found")
            .fetchone()
        )
    assert counted is not None
    return counted[0], counted[1]


@contextmanager
def in_duckdb(settings: Settings, since: datetime, *, windows: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """``windows``, ``late`` and ``events``, read in this order: what is late or in a window is in bronze."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, identifier in (
            ("windows", windows),
            ("late", "silver.late_events"),
            ("events", f"bronze.{FAMILY.name}_events"),
        ):
            connection.register(name, rows(settings, identifier, since))
        yield connection


def unbalanced_minutes(settings: Settings, since: datetime) -> tuple[list[object], int]:
    """Closed minutes whose distinct events are not those in windows and the late ones; and the closed minutes."""
    with in_duckdb(settings, since, windows=f"silver.{FAMILY.name}_1m") as connection:
        connection.execute(f"""
            CREATE TABLE minutes AS
            WITH closed AS (SELECT max(window_end) AS until FROM windows),
            counted AS (
                SELECT date_trunc('minute', event_time) AS minute, count(DISTINCT event_id) AS published
                FROM events WHERE event_time < (SELECT until FROM closed) GROUP BY 1
            ), inside AS (SELECT window_start AS minute, sum(event_count) AS counted FROM windows GROUP BY 1),
            behind AS (
                SELECT date_trunc('minute', event_time) AS minute, count(DISTINCT event_id) AS late
                FROM late WHERE family = '{FAMILY.name}' GROUP BY 1
            )
            SELECT minute, published, coalesce(counted, 0) AS counted, coalesce(late, 0) AS late
            FROM counted LEFT JOIN inside USING (minute) LEFT JOIN behind USING (minute)
        """)
        wrong = connection.execute("FROM minutes WHERE published != counted + late").fetchall()
        doubled = connection.execute(
            "SELECT sensor_id, window_start FROM windows GROUP BY ALL HAVING count(*) > 1"
        ).fetchall()
        (closed,) = connection.execute("SELECT count(*) FROM minutes WHERE counted > 0").fetchone() or (0,)
    assert doubled == []
    return list(wrong), closed


def late_events(settings: Settings, since: datetime) -> int:
    return int(
        duckdb.from_arrow(rows(settings, "silver.late_events", since)).filter(f"family = '{FAMILY.name}'").shape[0]
    )


def newest_end(settings: Settings, since: datetime) -> datetime:
    windows = duckdb.from_arrow(rows(settings, f"silver.{FAMILY.name}_5m", since))
    return windows.max("window_end").fetchall()[0][0]


def differing_windows(settings: Settings, since: datetime) -> list[object]:
    """Closed windows of five minutes that count something else than DuckDB in bronze without the late events."""
    with in_duckdb(settings, since, windows=f"silver.{FAMILY.name}_5m") as connection:
        return connection.execute(f"""
            WITH firsts AS (
                FROM events
                QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY kafka_partition, kafka_offset) = 1
            ), on_time AS (
                FROM firsts ANTI JOIN (FROM late WHERE family = '{FAMILY.name}')
                USING (kafka_partition, kafka_offset)
            ), slid AS (
                SELECT zone, date_trunc('minute', event_time) - back * INTERVAL 1 MINUTE AS window_start
                FROM on_time, (SELECT unnest(range(5)) AS back)
            ), wanted AS (
                SELECT zone, window_start, count(*) AS counted FROM slid
                WHERE window_start >= TIMESTAMPTZ '{since.isoformat()}'
                    AND window_start <= (SELECT max(window_start) FROM windows)
                GROUP BY zone, window_start
            ), found AS (
                SELECT zone, window_start, event_count AS counted FROM windows
            )
            SELECT *, 'only wanted' FROM (FROM wanted EXCEPT FROM found)
            UNION ALL SELECT *, 'only found' FROM (FROM found EXCEPT FROM wanted)
        """).fetchall()


def no_event_becomes_a_row_for_each_of_its_windows(settings: Settings, family: contracts.Family) -> bool:
    plan = httpx.get(f"{settings.flink_url}/jobs/{load_state(settings, family.name).job_id}/plan")
    assert "GlobalWindowAggregate" in plan.raise_for_status().text
    # Flink's own name of the operator that copies an event into each of its windows
    return "WindowTableFunction" not in plan.text


def nothing_is_lost_or_doubled(settings: Settings, simulation: Simulation, since: datetime) -> None:
    """Let two minutes more be closed, end the simulation, and compare the tables with its ledger."""

    @retry(retry=retry_if_result(lambda closed: closed < 2), stop=stop_after_delay(PATIENCE_S), wait=wait_fixed(2))
    def closed_minutes() -> int:
        return unbalanced_minutes(settings, since)[1]

    closed_minutes()
    ledger = simulation.end()
    expected = ledger.acknowledged - ledger.by_kind.malformed

    @retry(retry=retry_if_result(lambda n: n < expected), stop=stop_after_delay(PATIENCE_S), wait=wait_fixed(1))
    def drained() -> int:
        return places(settings, ledger)[0]

    drained()
    assert places(settings, ledger) == (expected, expected)
    assert unbalanced_minutes(settings, since)[0] == []
    assert differing_windows(settings, since) == []


@pytest.fixture
def another_column(settings: Settings) -> Iterator[None]:
    """The family's tables have one more column, in front of the others, as another checkout would have it."""
    catalog = open_catalog(settings)
    identifiers = [f"bronze.{FAMILY.name}_events", f"silver.{FAMILY.name}_1m", f"silver.{FAMILY.name}_5m"]
    for identifier in identifiers:
        with catalog.load_table(identifier).update_schema() as update:
            update.add_column("of_another_checkout", DoubleType()).move_first("of_another_checkout")
    yield
    for identifier in identifiers:
        with catalog.load_table(identifier).update_schema() as update:
            update.delete_column("of_another_checkout")


@pytest.mark.parametrize("family", contracts.families(), ids=lambda family: family.name)
def test_windows_belong_to_the_aggregation(settings: Settings, family: contracts.Family) -> None:
    assert no_event_becomes_a_row_for_each_of_its_windows(settings, family)


@pytest.mark.usefixtures("another_column")
def test_an_upgrade_while_events_come_loses_and_doubles_nothing(
    settings: Settings, simulation: Simulation
) -> None:
    since = (datetime.now(UTC) - timedelta(minutes=30)).replace(second=0, microsecond=0)
    before = load_state(settings, FAMILY.name).job_id

    upgrade_jobs(settings, (FAMILY,), all_tables(), print)
    state = load_state(settings, FAMILY.name)
    assert state.job_id != before
    assert state.restored_from is None
    assert state.resume is not None
    assert no_event_becomes_a_row_for_each_of_its_windows(settings, FAMILY)

    nothing_is_lost_or_doubled(settings, simulation, since)
    bronze = open_catalog(settings).load_table(f"bronze.{FAMILY.name}_events")
    assert bronze.schema().fields[0].name == "of_another_checkout"


def test_a_job_that_cannot_go_on_with_the_state_of_another_version_takes_up_its_tables(
    settings: Settings, simulation: Simulation
) -> None:
    since = (datetime.now(UTC) - timedelta(minutes=30)).replace(second=0, microsecond=0)
    before = late_events(settings, since)
    until(lambda: late_events(settings, since) > before + 20, "events are late for the old job")
    stop_jobs(settings, (FAMILY,), print, stay_stopped=True)
    left = load_state(settings, FAMILY.name)
    save_state(settings, FAMILY.name, left.model_copy(update={"layout": STATE_LAYOUT - 1}))

    start_jobs(settings, (FAMILY,))
    state = load_state(settings, FAMILY.name)
    assert (state.layout, state.restored_from, state.lineage) == (STATE_LAYOUT, None, [state.job_id])
    assert state.resume is not None
    # the next window to end holds events that were late for the first job: the second has to leave them out
    assert sum(map(len, state.resume.late.values())) > 20
    closed = max(state.resume.windows_up_to.values())
    until(lambda: newest_end(settings, since) > closed, f"a window that ends after {closed:%H:%M} is written")
    nothing_is_lost_or_doubled(settings, simulation, since)


def test_a_job_of_another_version_that_did_not_end_cleanly_is_refused_and_holds_up_no_other(
    settings: Settings,
) -> None:
    stop_jobs(settings, (FAMILY,), print, stay_stopped=True)
    left = load_state(settings, FAMILY.name)
    crashed = {"layout": STATE_LAYOUT - 1, "savepoint": None, "restored_from": left.savepoint, "stopped": False}
    client = FlinkRest(settings.flink_url)

    def job_of(name: str) -> str:
        job_id = load_state(settings, name).job_id
        assert job_id is not None
        return job_id

    other = job_of(OTHER_FAMILY.name)
    try:
        save_state(settings, FAMILY.name, left.model_copy(update=crashed))
        refused = submit_missing(settings, (FAMILY,))
        assert "did not end with a savepoint" in str(refused[FAMILY.name])

        client.cancel(other)
        until(lambda: job_of(OTHER_FAMILY.name) != other, "the keeper has submitted the other family's job")
        assert load_state(settings, FAMILY.name).job_id == left.job_id
    finally:
        save_state(settings, FAMILY.name, left)
        start_jobs(settings, (FAMILY, OTHER_FAMILY))
        # they run before their tasks do, and can be stopped with a savepoint only then
        for family in (FAMILY, OTHER_FAMILY):
            job_id = job_of(family.name)
            until(lambda job_id=job_id: client.completed_checkpoints(job_id) > 0, "the job has made a checkpoint")


def test_the_client_goes_on_after_a_job_that_flink_does_not_take(settings: Settings) -> None:
    """With jobs that read topics of their own, which the keeper knows nothing of, and write no table."""
    nowhere = f"{settings.checkpoint_location}/savepoints/nowhere"
    jobs = [
        {
            "family": FAMILY.name,
            "called": "refused",
            "restore_from": nowhere,
            "resume": None,
            "sinks": ["readings"],
        },
        {"family": FAMILY.name, "called": "taken", "restore_from": None, "resume": None, "sinks": ["readings"]},
    ]
    java = find_java(settings.toolchain, settings.java_home, Console(stderr=True))
    client = subprocess.run(
        [settings.toolchain / "streaming" / "bin" / "python", "-m", "streaming.submit"],
        input="\n".join(map(json.dumps, jobs)),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **client_environment(settings, java)},
        capture_output=True,
        text=True,
        check=False,
    )
    flink = FlinkRest(settings.flink_url)
    taken = [job for job in flink.jobs() if job.name == replace(FAMILY, name="taken").job_name]
    for job in taken:
        flink.cancel(job.job_id)
    outcomes = [json.loads(line) for line in client.stdout.splitlines() if line.startswith("{")]
    assert client.returncode == 1, client.stderr
    assert [sorted(outcome) for outcome in outcomes] == [["error", "family"], ["family", "job_id"]]
    assert nowhere in outcomes[0]["error"]
    assert [job.job_id for job in taken] == [outcomes[1]["job_id"]]


def test_a_job_does_not_start_behind_its_tables(settings: Settings, simulation: Simulation) -> None:
    stop_jobs(settings, (FAMILY,), print, stay_stopped=True)
    old = load_state(settings, FAMILY.name).savepoint
    assert old is not None
    start_jobs(settings, (FAMILY,))
    job_id = load_state(settings, FAMILY.name).job_id
    assert job_id is not None
    client = FlinkRest(settings.flink_url)

    @retry(retry=retry_if_result(lambda n: n < 3), stop=stop_after_delay(PATIENCE_S), wait=wait_fixed(1))
    def checkpoints() -> int:
        return client.completed_checkpoints(job_id)

    checkpoints()
    stop_jobs(settings, (FAMILY,), print, stay_stopped=True)
    try:
        with pytest.raises(RewindError, match="events would be written twice"):
            start_jobs(settings, (FAMILY,), restore_from=old)
    finally:
        start_jobs(settings, (FAMILY,))


def test_lag_counts_what_no_checkpoint_covers(settings: Settings) -> None:
    def lag() -> int | None:
        return next(job.lag for job in status(settings).jobs if job.family == FAMILY.name)

    until(lambda: lag() == 0, "the job has read everything")
    stop_jobs(settings, (FAMILY,), print, stay_stopped=True)
    try:
        before = end_offsets(settings, FAMILY.topic)
        options = SimulationOptions(families=(FAMILY,), sensors=60, rate=2000, duration=timedelta(seconds=3))
        run_simulation(options, settings)
        after = end_offsets(settings, FAMILY.topic)
        published = sum(after[partition] - before[partition] for partition in after)
        assert published > 1000
        assert lag() == published
    finally:
        start_jobs(settings, (FAMILY,))
    until(lambda: lag() == 0, "the job has caught up")
