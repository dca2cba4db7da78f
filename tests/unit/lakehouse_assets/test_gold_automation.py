"""The conditions of derived gold tables, evaluated with the real definitions on an ephemeral instance."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from automation import STARTING_SENSORS

from contracts import BATCH_WRITERS, Table, Writer, all_tables, families, gold_daily, gold_hourly, table
from lakehouse_assets.check_results import CHECK_NAME, VOLUME_CHECK
from lakehouse_assets.definitions import defs
from lakehouse_assets.describe import table_key
from lakehouse_assets.gold import assets, publish, recompute
from lakehouse_assets.gold.recompute import Recomputed

CITY, HEALTH, ANOMALIES = (table(f"gold.{name}") for name in ("city_hourly", "sensor_health", "anomalies"))
DERIVED = {table_key(each): each.name for each in (CITY, HEALTH, ANOMALIES)}
HOURLY = [gold_hourly(member) for member in families()]
STUB = dg.ResourceDefinition.hardcoded_resource(SimpleNamespace(spark_session=None))
RUNNABLE = dg.Definitions(
    assets=defs.assets, jobs=defs.jobs, resources=dict.fromkeys(("settings", "catalog", "spark"), STUB)
)
"""The assets as they are, without connections, and without the checks that need one."""
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
BEGIN = NOON.date() - timedelta(days=70)
MINUTE = timedelta(minutes=1)

Requested = dict[str, set[str]]


def days(first: date, last: date) -> list[str]:
    return [str(first + timedelta(days=n)) for n in range((last - first).days + 1)]


class Platform:
    """An instance on which days were computed, and the daemon that evaluates the conditions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.instance = dg.DagsterInstance.ephemeral()
        self.cursor: Any = None
        self.passes = True
        monkeypatch.setattr(recompute, "recompute", lambda *_, **__: Recomputed({"": 1}, {"": 1}, 1, {}))
        monkeypatch.setattr(assets, "require_upstream_days", lambda *_: None)
        monkeypatch.setattr(publish, "begin_branch", lambda *_: "branch")
        monkeypatch.setattr(publish, "audit_and_publish", self._audit)
        # what was computed before the daemon's first tick is no news
        for declared in HOURLY:
            self.report(declared, *days(BEGIN, NOON.date()))
            self.evaluate_check(declared, passed=True)
        for declared in (CITY, HEALTH, ANOMALIES):
            self.report(declared, *days(BEGIN, NOON.date() - timedelta(days=1)))
        self.tick(NOON)

    def _audit(
        self, _catalog: object, declared: Table, *_range: object, steady: bool
    ) -> Iterator[dg.AssetCheckResult]:
        yield dg.AssetCheckResult(check_name=CHECK_NAME, passed=self.passes)
        if steady:
            yield dg.AssetCheckResult(check_name=VOLUME_CHECK, passed=True)
        if not self.passes:
            raise dg.Failure(f"{declared.identifier} is not published", allow_retries=False)

    def report(self, declared: Table, *keys: str | None) -> None:
        """Days that runs have published; ``None`` for a table that has no partitions in Dagster."""
        for key in keys:
            self.instance.report_runless_asset_event(dg.AssetMaterialization(table_key(declared), partition=key))

    def evaluate_check(self, declared: Table, *, passed: bool) -> None:
        self.instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=table_key(declared), check_name=CHECK_NAME, passed=passed, blocking=True
            )
        )

    def compute(self, *tables: Table, day: str) -> bool:
        """A run of the assets, as from the UI."""
        job = RUNNABLE.resolve_implicit_global_asset_job_def()
        keys = [table_key(declared) for declared in tables]
        return self._execute(job, day, asset_selection=keys)

    def run_job(self, name: str, day: str) -> bool:
        """A run of a job, as its schedule starts it."""
        return self._execute(RUNNABLE.resolve_job_def(name), day)

    def _execute(self, job: dg.JobDefinition, day: str, **selection: Sequence[dg.AssetKey]) -> bool:
        return job.execute_in_process(
            instance=self.instance, partition_key=day, raise_on_error=False, **selection
        ).success

    def tick(self, at: datetime) -> Requested:
        """The days that are asked for, by table."""
        result = dg.evaluate_automation_conditions(defs, self.instance, evaluation_time=at, cursor=self.cursor)
        self.cursor = result.cursor
        found = {
            DERIVED[each.key]: {
                partition.partition_key for partition in each.true_subset.expensively_compute_asset_partitions()
            }
            for each in result.results
        }
        return {name: asked for name, asked in found.items() if asked}

    def hour(self, number: int = 0) -> Requested:
        """What an hour asks for, counted from noon; only the tick after its thirty-fifth minute may."""
        begin = NOON + timedelta(hours=number)
        before, asked, *after = (self.tick(begin + minute * MINUTE) for minute in (34, 36, 37, 59))
        assert [before, *after] == [{}, {}, {}]
        return asked


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Platform:
    return Platform(monkeypatch)


def test_a_day_that_is_published_upstream_is_asked_for_below_once(platform: Platform) -> None:
    assert platform.compute(HOURLY[0], day="2026-03-02")
    assert platform.hour() == {
        "city_hourly": {"2026-03-02"},
        # sensors that fell silent are listed for the seven days that follow
        "sensor_health": set(days(date(2026, 3, 3), date(2026, 3, 9))),
        # eight weeks of the hourly table are what an hour is held against, up to yesterday
        "anomalies": set(days(date(2026, 3, 2), date(2026, 3, 9))),
    }
    assert platform.hour(1) == {}


def test_several_days_upstream_are_asked_for_together(platform: Platform) -> None:
    for day in ("2026-01-05", "2026-01-07"):
        assert platform.compute(*HOURLY, day=day)
    asked = platform.hour()
    assert asked["city_hourly"] == {"2026-01-05", "2026-01-07"}
    assert asked["sensor_health"] == set(days(date(2026, 1, 6), date(2026, 1, 14)))
    assert asked["anomalies"] == set(days(date(2026, 1, 5), date(2026, 3, 4)))
    assert platform.hour(1) == {}


def test_nothing_is_asked_for_after_a_check_that_failed_until_it_passes(platform: Platform) -> None:
    assert platform.compute(HOURLY[0], day="2026-03-02")
    platform.passes = False
    assert not platform.compute(HOURLY[0], day="2026-03-05")
    assert platform.hour() == {}
    platform.passes = True
    assert platform.compute(HOURLY[0], day="2026-03-06")
    assert platform.hour(1)["city_hourly"] == {"2026-03-02", "2026-03-06"}


def test_a_day_that_failed_upstream_is_not_asked_for(platform: Platform) -> None:
    platform.passes = False
    assert not platform.compute(HOURLY[0], day="2026-03-05")
    platform.evaluate_check(HOURLY[0], passed=True)
    assert platform.hour() == {}


@pytest.mark.parametrize(("job", "day"), [("gold_hourly", "2026-03-10"), ("gold_daily", "2026-03-09")])
def test_the_runs_of_the_schedules_leave_nothing_to_ask_for(platform: Platform, job: str, day: str) -> None:
    assert platform.run_job(job, day)
    assert platform.hour() == {}


def test_a_run_of_late_data_leaves_nothing_to_ask_for(platform: Platform) -> None:
    """It computes exactly the day that late events came for, not those that look back at it."""
    assert platform.compute(HOURLY[0], gold_daily(families()[0]), CITY, HEALTH, ANOMALIES, day="2026-03-02")
    assert platform.hour() == {}


def test_the_first_run_of_a_day_that_is_not_closed_is_left_to_the_schedules(platform: Platform) -> None:
    assert platform.compute(*HOURLY, day="2026-03-10")
    assert platform.hour() == {}


def test_a_closed_day_that_was_never_computed_needs_all_that_it_is_computed_from(platform: Platform) -> None:
    day = str(BEGIN - timedelta(days=1))
    assert platform.compute(*HOURLY[1:], day=day)
    assert "city_hourly" not in platform.hour()
    assert platform.compute(HOURLY[0], day=day)
    asked = platform.hour(1)
    assert asked["city_hourly"] == {day}
    assert day not in asked["anomalies"], "there are no eight weeks before"


def test_snapshots_of_streams_are_no_news(platform: Platform) -> None:
    for declared in all_tables():
        if declared.writer not in BATCH_WRITERS:
            platform.report(declared, None)
    assert platform.hour() == {}


def test_tables_derived_from_gold_have_a_condition_and_its_sensor_runs() -> None:
    batch = {each.identifier for each in all_tables() if each.writer is Writer.SPARK}
    derived = {table_key(each) for each in all_tables() if each.identifier in batch & set(_below(batch))}
    graph = defs.resolve_asset_graph()
    assert {key for key in graph.get_all_asset_keys() if graph.get(key).automation_condition} == derived
    [sensor] = [each for each in defs.sensors or () if isinstance(each, dg.AutomationConditionSensorDefinition)]
    assert sensor.asset_selection.resolve(graph) == derived == set(DERIVED)
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert sensor.name in STARTING_SENSORS, "it would come between the runs of other tests"


def _below(identifiers: set[str]) -> Iterator[str]:
    return (each.identifier for each in all_tables() if identifiers & set(each.derived_from))
