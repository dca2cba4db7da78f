"""Silver is checked snapshot by snapshot: real tables, the daemon that ticks the sensor, and the runs it starts.

What a check looks at is recorded as the rows that it hands to the suite, and held against what was committed.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from iceberg_on_disk import arrow_rows, compact, expire, open_disk_catalog, plausible_row
from pyiceberg.catalog import Catalog

import resources.quality
from contracts import Table, all_tables, table
from lakehouse_assets.streaming import checks, unchecked
from lakehouse_assets.streaming.jobs import SILVER_QUALITY
from resources.catalog import ensure_tables
from resources.quality import Finding, QualityReport

WEATHER, TRAFFIC = table("silver.weather_1m"), table("silver.traffic_5m")
BRONZE = table("bronze.weather_events")
INTERVAL = timedelta(minutes=5)
SETTINGS = SimpleNamespace(silver_check_interval_s=INTERVAL.total_seconds())
BAD = -1
"""Number of a row that the recording suite finds fault with."""


def label(declared: Table) -> str:
    """The column that holds the number of a row."""
    return "sensor_id" if any(column.name == "sensor_id" for column in declared.columns) else "zone"


class City:
    """Tables, the jobs that write them, a clock, the daemon that ticks the sensor, and what was looked at."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.instance = dg.DagsterInstance.ephemeral()
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)
        self.cursor: str | None = None
        self.keys: set[str] = set()
        self.committed: Counter[tuple[str, int]] = Counter()
        self.looked_at: Counter[tuple[str, int]] = Counter()
        self.rows = 0

    def commit(self, declared: Table = WEATHER, rows: int = 1, *, bad: bool = False) -> int:
        """A Flink job commits so many rows, none where a checkpoint was empty; returns the snapshot's id."""
        numbers = [BAD] if bad else list(range(self.rows, self.rows + rows))
        self.rows += rows
        made = [{**plausible_row(declared, abs(number)), label(declared): str(number)} for number in numbers]
        self.catalog.load_table(declared.identifier).append(arrow_rows(self.catalog, declared, made))
        self.committed.update((declared.identifier, number) for number in numbers)
        snapshot = self.catalog.load_table(declared.identifier).current_snapshot()
        assert snapshot is not None
        return snapshot.snapshot_id

    def validate(self, declared: Table, rows: pa.Table) -> QualityReport:
        """In place of the suite: note the rows, and find fault with the bad ones."""
        numbers = [int(value) for value in rows[label(declared)].to_pylist()]
        self.looked_at.update((declared.identifier, number) for number in numbers)
        bad = numbers.count(BAD)
        return QualityReport(len(numbers), (Finding("good", "", not bad, False, f"{bad} bad", bad, ()),))

    def tick(self, *, after: timedelta = timedelta(0), killed: bool = False) -> list[dg.RunRequest]:
        """Tick as the daemon does, which starts no second run with a key; killed, it does not store the cursor."""
        self.now += after
        context = dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            resources={"settings": SETTINGS, "catalog": self.catalog},
        )
        result = unchecked.unchecked_snapshots.evaluate_tick(context)
        new = [request for request in result.run_requests or () if request.run_key not in self.keys]
        self.keys.update(str(request.run_key) for request in new)
        if not killed:
            self.cursor = result.cursor
        return new

    def run(self, *keys: dg.AssetCheckKey) -> dict[str, dg.AssetCheckEvaluation]:
        """Run these checks, and return what they say by table."""
        location = dg.Definitions(
            asset_checks=checks.streaming_checks(),
            jobs=[SILVER_QUALITY, dg.define_asset_job("any", dg.AssetSelection.all_asset_checks())],
            resources={"catalog": self.catalog},
        )
        of_silver = set(keys) <= {checks.contract_check(each) for each in checks.silver_tables()}
        job = location.resolve_job_def(SILVER_QUALITY.name if of_silver else "any")
        # as the daemon does with a request that names checks
        chosen = job.get_subset(asset_check_selection=set(keys))
        done = chosen.execute_in_process(instance=self.instance, raise_on_error=False)
        return {".".join(said.asset_key.path): said for said in done.get_asset_check_evaluations()}

    def check(self) -> dict[str, dg.AssetCheckEvaluation]:
        """An interval passes, and the run that is asked for, if any, is made."""
        return {
            name: said
            for request in self.tick(after=INTERVAL)
            for name, said in self.run(*(request.asset_check_keys or ())).items()
        }


@contextmanager
def recorded(city: City) -> Iterator[City]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resources.quality, "validate", city.validate)
        patch.setattr(unchecked, "utc_now", lambda: city.now)
        yield city


@pytest.fixture
def city(disk_catalog: Catalog) -> Iterator[City]:
    with recorded(City(disk_catalog)) as city:
        yield city


def figures(said: dg.AssetCheckEvaluation) -> dict[str, Any]:
    return {name: value.value for name, value in said.metadata.items()}


def test_snapshots_between_two_checks_are_looked_at_by_the_second(city: City) -> None:
    first = city.commit(rows=3)
    assert figures(city.check()[WEATHER.identifier])["rows"] == 3
    ids = [city.commit(rows=2), city.commit(rows=0), city.commit(rows=4)]
    said = figures(city.check()[WEATHER.identifier])
    assert (said["rows"], said["snapshots"]) == (6, 2)
    assert (said["first_snapshot"], said["last_snapshot"]) == (str(ids[0]), str(ids[2]))
    assert str(first) not in said.values()
    assert city.check() == {}
    assert city.looked_at == city.committed


def test_only_tables_with_new_rows_are_checked_in_one_run(city: City) -> None:
    city.commit(WEATHER)
    city.commit(TRAFFIC)
    city.commit(BRONZE)
    [request] = city.tick()
    assert set(request.asset_check_keys or ()) == {checks.contract_check(each) for each in (WEATHER, TRAFFIC)}
    city.run(*(request.asset_check_keys or ()))
    city.commit(TRAFFIC)
    [request] = city.tick(after=INTERVAL)
    assert request.asset_check_keys == [checks.contract_check(TRAFFIC)]


def test_a_snapshot_every_minute_is_a_run_every_interval(city: City) -> None:
    asked = []
    for minute in range(20):
        city.commit()
        for request in city.tick():
            asked.append(minute)
            city.run(*(request.asset_check_keys or ()))
        city.now += timedelta(minutes=1)
    assert asked == [0, 5, 10, 15]
    city.check()
    assert city.looked_at == city.committed


def test_while_a_run_is_under_way_no_other_is_asked_for(city: City) -> None:
    city.commit()
    run = dg.DagsterRun(job_name=SILVER_QUALITY.name, status=dg.DagsterRunStatus.STARTED)
    city.instance.add_run(run)
    assert city.tick() == []
    assert city.tick(after=INTERVAL) == []
    city.instance.delete_run(run.run_id)
    assert len(city.tick()) == 1


def test_a_run_that_failed_is_made_up_for(city: City) -> None:
    city.commit()
    assert len(city.tick()) == 1
    assert city.tick() == []
    assert list(city.check()) == [WEATHER.identifier]
    assert city.looked_at == city.committed


def test_a_daemon_killed_before_it_stored_the_cursor_starts_no_second_run(city: City) -> None:
    city.commit()
    assert len(city.tick(killed=True)) == 1
    assert city.tick() == []


def test_within_an_interval_that_was_asked_in_no_table_is_read(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    city.commit()
    assert len(city.tick()) == 1
    monkeypatch.setattr(city.catalog, "load_table", None)
    assert city.tick() == []


def test_compaction_brings_nothing_new_and_hides_nothing(city: City) -> None:
    city.commit(rows=2)
    city.check()
    compact(city.catalog, WEATHER)
    assert city.check() == {}
    city.commit(rows=3)
    compact(city.catalog, WEATHER)
    city.commit()
    said = figures(city.check()[WEATHER.identifier])
    assert (said["rows"], said["snapshots"]) == (4, 2)
    assert city.looked_at == city.committed


def test_expiry_of_what_was_checked_changes_nothing(city: City) -> None:
    city.commit(rows=2)
    city.check()
    city.commit()
    expire(city.catalog, WEATHER)
    said = figures(city.check()[WEATHER.identifier])
    assert said["rows"] == 1
    assert "commits_expired" not in said
    assert city.looked_at == city.committed


@pytest.mark.parametrize("compacted", [False, True])
def test_what_expired_unchecked_is_said_and_the_rest_is_checked(city: City, *, compacted: bool) -> None:
    city.commit()
    city.check()
    for _ in range(3):
        city.commit()
    if compacted:
        compact(city.catalog, WEATHER)  # two commits
    city.commit(rows=2)
    expire(city.catalog, WEATHER)
    said = city.check()[WEATHER.identifier]
    assert figures(said)["commits_expired"] == (5 if compacted else 3)
    assert "expired" in (said.description or "")
    assert figures(said)["rows"] == 2
    city.commit()
    assert "commits_expired" not in figures(city.check()[WEATHER.identifier])
    # the first, the two that were left, and the last
    assert sorted(number for _, number in city.looked_at) == [0, 4, 5, 6]
    assert set(city.looked_at.values()) == {1}


def test_more_rows_than_one_check_looks_at_wait_for_the_next(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MAX_ROWS", 5)
    for rows in (2, 2, 2, 1, 4):
        city.commit(rows=rows)
    found = [figures(city.check()[WEATHER.identifier]) for _ in range(3)]
    assert [(said["rows"], said.get("rows_waiting")) for said in found] == [(4, 7), (3, 4), (4, None)]
    assert city.check() == {}
    assert city.looked_at == city.committed


def test_a_snapshot_with_more_rows_than_one_check_looks_at(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MAX_ROWS", 5)
    city.commit(rows=8)
    city.commit()
    said = city.check()[WEATHER.identifier]
    assert (figures(said)["rows"], figures(said)["rows_left_out"], figures(said)["rows_waiting"]) == (5, 3, 1)
    assert "3 rows beyond 5 were not looked at" in (said.description or "")
    assert figures(city.check()[WEATHER.identifier])["rows"] == 1
    assert not city.looked_at - city.committed


def test_of_bronze_the_newest_rows_are_looked_at(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MAX_ROWS", 5)
    for rows in (4, 3, 2):
        city.commit(BRONZE, rows)
    said = figures(city.run(checks.contract_check(BRONZE))[BRONZE.identifier])
    assert (said["rows"], said["snapshots"], said["rows_left_out"]) == (5, 2, 4)
    assert {number for _, number in city.looked_at} == set(range(4, 9))
    city.commit(BRONZE)
    said = figures(city.run(checks.contract_check(BRONZE))[BRONZE.identifier])
    assert (said["rows"], said.get("rows_left_out")) == (1, None)


def test_without_new_rows_the_verdict_stands(city: City) -> None:
    key = checks.contract_check(WEATHER)
    assert city.run(key)[WEATHER.identifier].passed
    city.commit(bad=True)
    assert not city.run(key)[WEATHER.identifier].passed
    said = city.run(key)[WEATHER.identifier]
    assert (said.passed, said.severity, figures(said)["rows"]) == (False, dg.AssetCheckSeverity.WARN, 0)
    city.commit()
    assert city.run(key)[WEATHER.identifier].passed


def test_a_table_that_cannot_be_read_does_not_keep_the_others_from_it(city: City) -> None:
    city.commit(WEATHER)
    city.commit(TRAFFIC)
    keys = [checks.contract_check(each) for each in checks.silver_tables()]
    city.catalog.drop_table(TRAFFIC.identifier)
    said = city.run(*keys)
    assert set(said) == {each.identifier for each in checks.silver_tables()} - {TRAFFIC.identifier}
    [run] = city.instance.get_runs()
    assert run.status is dg.DagsterRunStatus.FAILURE
    [failure] = city.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    assert failure.dagster_event is not None
    error = failure.dagster_event.step_failure_data.error
    assert error is not None
    assert TRAFFIC.identifier in str(error.cause or error)


def test_a_table_that_was_created_again_is_read_from_its_beginning(city: City) -> None:
    for _ in range(3):
        city.commit()
    city.check()
    city.catalog.drop_table(WEATHER.identifier)
    ensure_tables(city.catalog, all_tables(), commit_retries=10)
    city.commit()
    assert figures(city.check()[WEATHER.identifier])["rows"] == 1
    assert city.looked_at == city.committed


def test_an_evaluation_by_hand_and_runs_that_died_do_not_hide_the_position(city: City) -> None:
    city.commit()
    city.check()
    key = checks.contract_check(WEATHER)
    city.instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(asset_key=key.asset_key, check_name=key.name, passed=True)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lakehouse_assets.check_history.PAGE", 2)
        patch.setattr(resources.quality, "validate", None)
        city.commit()
        for _ in range(3):
            assert city.run(key) == {}
        patch.setattr(resources.quality, "validate", city.validate)
        city.run(key)
    assert city.looked_at == city.committed


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens in whatever order: each row of two tables is looked at once."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.city = City(open_disk_catalog(Path(self.folder.name)))
        self.patch = recorded(self.city)
        self.patch.__enter__()

    def teardown(self) -> None:
        for _ in range(3):  # a tick that died may have used up its interval
            self.city.check()
        assert self.city.looked_at == self.city.committed
        self.patch.__exit__(None, None, None)
        self.folder.cleanup()

    @rule(declared=st.sampled_from([WEATHER, TRAFFIC]), rows=st.integers(0, 3))
    def a_job_commits(self, declared: Table, rows: int) -> None:
        self.city.commit(declared, rows)

    @rule(declared=st.sampled_from([WEATHER, TRAFFIC]))
    def maintenance_compacts(self, declared: Table) -> None:
        compact(self.city.catalog, declared)

    @rule(minutes=st.integers(0, 6), died_after=st.sampled_from([0, 1, 2, 2]), killed=st.booleans())
    def the_daemon_ticks(self, minutes: int, died_after: int, killed: bool) -> None:
        """The run dies after so many of its tables, or it does not."""
        for request in self.city.tick(after=timedelta(minutes=minutes), killed=killed):
            if evaluated := list(request.asset_check_keys or ())[:died_after]:
                self.city.run(*evaluated)

    @rule()
    def all_is_checked_by_schedule(self) -> None:
        self.city.run(*(checks.contract_check(each) for each in checks.silver_tables()))

    @rule()
    def what_was_checked_expires(self) -> None:
        self.all_is_checked_by_schedule()
        for declared in (WEATHER, TRAFFIC):
            expire(self.city.catalog, declared)

    @invariant()
    def nothing_twice(self) -> None:
        assert not self.city.looked_at - self.city.committed


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=6, stateful_step_count=10, deadline=None, suppress_health_check=list(HealthCheck)
)
