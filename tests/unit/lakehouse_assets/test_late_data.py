"""The sensor of late events, ticked against real tables on an ephemeral instance."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from iceberg_on_disk import arrow_rows, compact, expire, plausible_row
from pyiceberg.catalog import Catalog

import lakehouse_assets.gold.publish
import lakehouse_assets.gold.recompute
from contracts import all_tables, families, late_events
from lakehouse_assets.check_results import CHECK_NAME, VOLUME_CHECK
from lakehouse_assets.definitions import defs
from lakehouse_assets.gold import late_data as sensor
from lakehouse_assets.gold.jobs import GOLD_DAILY
from lakehouse_assets.gold.recompute import Recomputed
from resources import offsets
from resources.catalog import ensure_tables

LATE = late_events(families())
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

OF_ALL_FAMILIES = {"gold/city_hourly", "gold/sensor_health", "gold/anomalies"}


class City:
    """The table of late events, the jobs that write it, a clock, and the daemon that ticks the sensor."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.instance = dg.DagsterInstance.ephemeral()
        self.now = NOON
        self.cursor: str | None = None
        self.events = 0

    def late(self, *days: str, family: str = "traffic") -> None:
        """A Flink job commits a late event for each of the days."""
        rows = []
        for day in days:
            self.events += 1
            at = datetime.fromisoformat(day).replace(hour=7, tzinfo=UTC)
            rows.append({**plausible_row(LATE, self.events), "family": family, "event_time": at})
        table = self.catalog.load_table(LATE.identifier)
        properties = {"flink.job-id": family, "flink.max-committed-checkpoint-id": str(self.events)}
        table.append(arrow_rows(self.catalog, LATE, rows), snapshot_properties=properties)

    def compact(self) -> None:
        """Rewrite all files, as maintenance does: several families' rows of a day come into one file."""
        compact(self.catalog, LATE)

    def expire(self) -> None:
        """Forget all snapshots but the newest."""
        expire(self.catalog, LATE)

    def tick(self, *, after: timedelta = timedelta(0), killed: bool = False) -> list[dg.RunRequest]:
        self.now += after
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources={"catalog": self.catalog}
        )
        result = sensor.late_data.evaluate_tick(context)
        if not killed:
            self.cursor = result.cursor
        return list(result.run_requests or ())

    def heal(self) -> list[tuple[str, str, str]]:
        """Tick until nothing is pending; the family, first and last day of each run."""
        asked = []
        for _ in range(20):
            asked += [asked_for(request) for request in self.tick(after=5 * MINUTE)]
        return sorted(asked)


def asked_for(request: dg.RunRequest) -> tuple[str, str, str]:
    keys = {key.to_user_string() for key in request.asset_selection or ()}
    [family] = (key.removeprefix("gold/").removesuffix("_daily") for key in keys if key.endswith("_daily"))
    assert keys == {f"gold/{family}_daily", f"gold/{family}_hourly", *OF_ALL_FAMILIES}
    tags = request.tags
    return family, tags["dagster/asset_partition_range_start"], tags["dagster/asset_partition_range_end"]


@pytest.fixture
def city(disk_catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> City:
    city = City(disk_catalog)
    monkeypatch.setattr(sensor, "utc_now", lambda: city.now)
    city.tick()
    return city


def test_exactly_that_day_of_that_family_once_the_events_have_paused(city: City) -> None:
    city.late("2026-03-07", "2026-03-07")
    assert city.tick() == []
    assert city.tick(after=4 * MINUTE) == []
    [request] = city.tick(after=MINUTE)
    assert asked_for(request) == ("traffic", "2026-03-07", "2026-03-07")
    assert request.tags[sensor.EVENTS_TAG] == "2"
    assert city.heal() == []


def test_a_batch_of_several_commits_is_one_run_and_the_next_batch_another(city: City) -> None:
    for _ in range(4):
        city.late("2026-03-07")
        assert city.tick(after=2 * MINUTE) == []
    [first] = city.tick(after=5 * MINUTE)
    city.late("2026-03-07")
    city.tick()
    [second] = city.tick(after=5 * MINUTE)
    assert asked_for(first) == asked_for(second)
    assert first.run_key != second.run_key


def test_events_that_never_pause_do_not_put_it_off_for_ever(city: City) -> None:
    asked_at = []
    for minute in range(1, 70):
        city.late("2026-03-07")
        if city.tick(after=MINUTE):
            asked_at.append(minute)
    assert asked_at == [31, 61]


def test_what_was_there_before_the_first_tick_starts_nothing(disk_catalog: Catalog, city: City) -> None:
    later = City(disk_catalog)
    city.late("2026-03-07")
    assert later.tick() == []
    assert later.heal() == []
    assert city.heal() == [("traffic", "2026-03-07", "2026-03-07")]


def test_open_days_are_left_to_the_schedules(city: City) -> None:
    city.now = datetime(2026, 3, 10, 0, 19, tzinfo=UTC)  # yesterday is closed in six minutes
    city.late("2026-03-09", "2026-03-10", "1999-12-31")
    assert city.tick() == []
    assert city.heal() == []


def test_an_event_that_may_come_too_late_for_the_close_is_not_left_to_it(city: City) -> None:
    city.now = datetime(2026, 3, 10, 0, 20, tzinfo=UTC)
    city.late("2026-03-09", "2026-03-10")
    assert city.tick() == []
    assert [asked_for(request) for request in city.tick(after=5 * MINUTE)] == [
        ("traffic", "2026-03-09", "2026-03-09")
    ]


def test_compaction_brings_nothing_new(city: City) -> None:
    city.late("2026-03-07")
    city.late("2026-03-08", family="energy")
    assert len(city.heal()) == 2
    city.compact()
    assert city.heal() == []


def test_events_that_were_compacted_before_they_were_read_count_once(city: City) -> None:
    city.late("2026-03-07")
    assert len(city.heal()) == 1
    city.late("2026-03-07", family="energy")
    city.compact()
    assert city.heal() == [("energy", "2026-03-07", "2026-03-07")]


@pytest.mark.parametrize("compacted", [False, True], ids=["as appended", "compacted"])
def test_no_late_event_is_lost_when_the_history_was_expired(city: City, *, compacted: bool) -> None:
    city.late("2026-03-03")
    assert len(city.heal()) == 1
    city.late("2026-03-05", family="energy")
    city.late("2026-03-05", "2026-03-07")
    if compacted:
        city.compact()
    city.late("2026-03-05", family="weather")
    city.expire()
    found = city.heal()
    new = [(name, f"2026-03-0{day}", f"2026-03-0{day}") for name, day in
           (("energy", 5), ("traffic", 5), ("traffic", 7), ("weather", 5))]  # fmt: skip
    # after compaction what was read before cannot be told from what was not: once more does no harm
    assert found == sorted([*new, ("traffic", "2026-03-03", "2026-03-03")] if compacted else new)
    assert city.heal() == []


def test_a_daemon_killed_before_it_stored_the_cursor_asks_for_the_same_run(city: City) -> None:
    city.late("2026-03-06", "2026-03-07")
    city.tick()
    [lost] = city.tick(after=5 * MINUTE, killed=True)
    city.late("2026-03-02", family="weather")
    [again] = city.tick(after=MINUTE)
    assert again.run_key == lost.run_key
    assert asked_for(again) == asked_for(lost) == ("traffic", "2026-03-06", "2026-03-07")
    assert city.heal() == [("weather", "2026-03-02", "2026-03-02")]


def test_a_load_of_history_is_a_few_runs_over_ranges(city: City) -> None:
    start = datetime(2025, 1, 1, tzinfo=UTC)
    for family in ("energy", "traffic"):
        city.late(*(f"{start + timedelta(days=n):%Y-%m-%d}" for n in range(90) if n != 40), family=family)
    found = city.heal()
    assert found == [
        (family, first, last)
        for family in ("energy", "traffic")
        for first, last in (
            ("2025-01-01", "2025-01-31"), ("2025-02-01", "2025-02-09"),
            ("2025-02-11", "2025-03-13"), ("2025-03-14", "2025-03-31"),
        )
    ]  # fmt: skip


def test_a_tick_asks_for_so_many_runs_and_the_next_for_the_rest(city: City) -> None:
    city.late(*(f"2026-02-{day:02}" for day in range(1, 26, 2)))
    city.tick()
    assert [len(city.tick(after=5 * MINUTE)) for _ in range(3)] == [8, 5, 0]


def test_a_table_that_was_created_again_is_read_from_its_beginning(city: City) -> None:
    city.late("2026-03-03")
    city.late("2026-03-03")
    assert len(city.heal()) == 1
    city.catalog.drop_table(LATE.identifier)
    ensure_tables(city.catalog, all_tables(), commit_retries=10)
    city.late("2026-03-07")
    assert city.heal() == [("traffic", "2026-03-07", "2026-03-07")]


def test_a_family_that_is_no_longer_declared_is_left_out(city: City) -> None:
    city.late("2026-03-07", family="noise")
    city.late("2026-03-07")
    assert city.heal() == [("traffic", "2026-03-07", "2026-03-07")]


def test_only_files_of_closed_days_that_hold_several_families_are_read(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    read_columns = offsets.read_columns

    def noted(table: Any, files: list[offsets.AddedFile], columns: list[str]) -> Any:
        read.extend((file.records, columns) for file in files)
        return read_columns(table, files, columns)

    monkeypatch.setattr("lakehouse_assets.gold.late_arrivals.read_columns", noted)
    city.late("2026-03-07", "2026-03-08")
    city.late("2026-03-07", "2026-03-10", family="energy")
    city.tick()
    assert read == []
    city.compact()
    city.late("2026-03-07")
    city.expire()
    city.tick()
    assert read == [(2, ["family"])]


def test_the_run_that_is_asked_for_computes_these_days_of_these_tables(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run as Dagster does, but for Spark: what is recomputed and what is materialised."""
    city.late("2026-03-06", "2026-03-07")
    city.tick()
    [request] = city.tick(after=5 * MINUTE)
    computed = []

    def recompute(*given: Any, start: datetime, end: datetime, **_: object) -> Recomputed:
        declared, inputs = given[-1].declared, [read.table.identifier for read in given[-1].inputs]
        computed.append((declared.identifier, start, end))
        return Recomputed(dict.fromkeys(inputs, 1), dict.fromkeys(inputs, 0), snapshot_written=2, days={})

    def publish(*_: object, steady: bool) -> Iterator[dg.AssetCheckResult]:
        for name in (CHECK_NAME, VOLUME_CHECK) if steady else (CHECK_NAME,):
            yield dg.AssetCheckResult(passed=True, check_name=name)

    monkeypatch.setattr(lakehouse_assets.gold.recompute, "recompute", recompute)
    monkeypatch.setattr(lakehouse_assets.gold.publish, "audit_and_publish", publish)
    resources = {
        "catalog": city.catalog,
        "settings": SimpleNamespace(),
        "spark": SimpleNamespace(spark_session=None),
    }
    location = dg.Definitions(assets=defs.assets, jobs=[GOLD_DAILY], resources=resources)
    done = location.resolve_job_def(sensor.late_data.job_name).execute_in_process(
        instance=city.instance,
        tags=dict(request.tags),
        asset_selection=list(request.asset_selection or ()),
    )
    assert done.success
    start, end = datetime(2026, 3, 6, tzinfo=UTC), datetime(2026, 3, 8, tzinfo=UTC)
    tables = {key.replace("/", ".") for key in OF_ALL_FAMILIES} | {"gold.traffic_hourly", "gold.traffic_daily"}
    assert sorted(computed) == sorted((identifier, start, end) for identifier in tables)
    for member in families():
        for table in ("hourly", "daily"):
            days = city.instance.get_materialized_partitions(dg.AssetKey(["gold", f"{member.name}_{table}"]))
            assert days == ({"2026-03-06", "2026-03-07"} if member.name == "traffic" else set())
