"""The check that streams move: real tables, a broker that is a list of times, and the daemon that ticks."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import dagster as dg
import pytest
from iceberg_on_disk import arrow_rows, plausible_row
from pyiceberg.catalog import Catalog

import resources.kafka
from contracts import bronze_events, families
from lakehouse_assets.describe import table_key
from lakehouse_assets.streaming import stuck

TRAFFIC = next(member for member in families() if member.name == "traffic")
BRONZE = bronze_events(TRAFFIC)
KEY = table_key(BRONZE)
CHECK = dg.AssetCheckKey(KEY, stuck.CHECK_NAME)
MINUTE = timedelta(minutes=1)
WARN, FAIL = TRAFFIC.freshness.warn_after, TRAFFIC.freshness.fail_after
SETTINGS = SimpleNamespace()


class Stream:
    """The topics with the times of their records, the bronze table of traffic, a clock and the daemon."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.instance = dg.DagsterInstance.ephemeral()
        self.records: dict[str, list[datetime]] = {member.topic: [] for member in families()}
        self.asked = 0
        self.now = datetime.now(UTC)

    def publish(self, at: datetime, topic: str = TRAFFIC.topic) -> None:
        self.records[topic].append(at)

    def commit(self, *, flink: bool = True, rows: int = 1) -> datetime:
        """A commit of the job, or of another; returns its time, which the clock then shows."""
        table = self.catalog.load_table(BRONZE.identifier)
        properties = {"flink.job-id": "j", "flink.max-committed-checkpoint-id": "1"} if flink else {}
        added = arrow_rows(self.catalog, BRONZE, [plausible_row(BRONZE, number) for number in range(rows)])
        table.append(added, snapshot_properties=properties)
        snapshot = self.catalog.load_table(BRONZE.identifier).current_snapshot()
        assert snapshot is not None
        self.now = datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC)
        return self.now

    def offsets_at(self, _settings: object, topic: str, moment: datetime) -> dict[int, int]:
        """Even records are in partition 0, odd ones in 1."""
        self.asked += 1
        parts = {0: self.records[topic][0::2], 1: self.records[topic][1::2]}
        return {number: sum(time < moment for time in times) for number, times in parts.items()}

    def tick(self, *, after: timedelta = timedelta(0), killed: bool = False) -> list[dg.AssetCheckEvaluation]:
        """Tick as the daemon does, and return what is reported of traffic."""
        self.now += after
        resources = {"settings": SETTINGS, "catalog": self.catalog}
        context = dg.build_sensor_context(instance=self.instance, resources=resources)
        events = [e for e in stuck.stuck_stream.evaluate_tick(context).asset_events if e.asset_key == KEY]
        for event in [] if killed else events:
            self.instance.report_runless_asset_event(event)
        return [event for event in events if isinstance(event, dg.AssetCheckEvaluation)]

    def verdict(self) -> tuple[bool, dg.AssetCheckSeverity]:
        """The newest evaluation, as Dagster shows it."""
        record = self.instance.get_latest_asset_check_evaluation_record(CHECK)
        assert record is not None
        assert record.evaluation is not None
        return record.evaluation.passed, record.evaluation.severity


@pytest.fixture
def stream(disk_catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> Stream:
    stream = Stream(disk_catalog)
    monkeypatch.setattr(resources.kafka, "offsets_at", stream.offsets_at)
    monkeypatch.setattr(stuck, "utc_now", lambda: stream.now)
    return stream


def test_records_that_wait_warn_then_fail_then_pass_each_said_once(stream: Stream) -> None:
    committed = stream.commit()
    assert [event.passed for event in stream.tick()] == [True]
    for second in (1, 2, 3):
        stream.publish(committed + timedelta(seconds=second))
    assert stream.tick(after=WARN) == []
    [warning] = stream.tick(after=MINUTE)
    assert (warning.passed, warning.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert warning.metadata["waiting_records"].value == 3
    assert stream.tick(after=MINUTE) == []
    [failure] = stream.tick(after=FAIL)
    assert (failure.passed, failure.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert failure.description is not None
    for told in (
        TRAFFIC.topic,
        BRONZE.identifier,
        f"{committed:%H:%M:%S} UTC",
        "./lakehouse jobs",
        "./lakehouse logs",
    ):
        assert told in failure.description
    assert stream.tick(after=MINUTE) == []
    assert stream.verdict() == (False, dg.AssetCheckSeverity.ERROR)
    stream.commit()
    assert [event.passed for event in stream.tick()] == [True]
    assert stream.verdict()[0]


def test_a_run_of_the_check_that_is_under_way_is_no_verdict_yet(stream: Stream) -> None:
    stream.commit()
    assert [event.passed for event in stream.tick()] == [True]
    meanwhile = []

    @dg.asset_check(asset=KEY, name=stuck.CHECK_NAME)
    def moves() -> dg.AssetCheckResult:
        meanwhile.append(stream.tick())
        return dg.AssetCheckResult(passed=False)

    checks = dg.define_asset_job("checks", dg.AssetSelection.all_asset_checks())
    job = dg.Definitions(asset_checks=[moves], jobs=[checks]).resolve_job_def("checks")
    assert job.execute_in_process(instance=stream.instance).success
    assert meanwhile == [[]]
    assert [event.passed for event in stream.tick()] == [True]


def test_a_silent_topic_is_not_stuck(stream: Stream) -> None:
    committed = stream.commit()
    stream.publish(committed - MINUTE)
    stream.publish(committed - timedelta(days=1))
    [event] = stream.tick(after=timedelta(days=2))
    assert event.passed


def test_other_topics_do_not_matter(stream: Stream) -> None:
    committed = stream.commit()
    for member in families():
        if member != TRAFFIC:
            stream.publish(committed + MINUTE, member.topic)
    [event] = stream.tick(after=2 * FAIL)
    assert event.passed


def test_compaction_is_no_sign_of_life(stream: Stream) -> None:
    committed = stream.commit()
    stream.publish(committed)
    assert stream.commit(flink=False) > committed
    [event] = stream.tick(after=2 * FAIL)
    assert not event.passed


def test_a_table_that_never_got_a_commit_is_stuck(stream: Stream) -> None:
    stream.publish(stream.now)
    assert [event.passed for event in stream.tick(after=MINUTE)] == [True]
    [event] = stream.tick(after=FAIL)
    assert not event.passed
    assert "never" in (event.description or "")
    assert "committed_at" not in event.metadata


def test_while_commits_come_the_broker_is_not_asked(stream: Stream) -> None:
    stream.commit()
    for member in families():
        if member != TRAFFIC:
            table = bronze_events(member)
            stream.catalog.load_table(table.identifier).append(
                arrow_rows(stream.catalog, table, [plausible_row(table, 1)]),
                snapshot_properties={"flink.max-committed-checkpoint-id": "1"},
            )
    stream.tick(after=MINUTE)
    assert stream.asked == 0


def test_a_daemon_killed_before_it_stored_the_event_reports_it_at_the_next_tick(stream: Stream) -> None:
    committed = stream.commit()
    stream.tick()
    stream.publish(committed + timedelta(seconds=1))
    [lost] = stream.tick(after=2 * FAIL, killed=True)
    [again] = stream.tick()
    assert again == lost
    assert stream.tick() == []


@pytest.mark.parametrize("late", [False, True])
def test_the_check_can_be_run_by_hand_and_the_sensor_knows_of_it(stream: Stream, *, late: bool) -> None:
    committed = stream.commit()
    stream.publish(committed + timedelta(seconds=1))
    if late:
        stream.now += 2 * FAIL
    [check] = [c for c in stuck.progress_checks() if CHECK in c.check_keys]
    location = dg.Definitions(asset_checks=[check], resources={"settings": SETTINGS, "catalog": stream.catalog})
    assert location.resolve_implicit_global_asset_job_def().execute_in_process(instance=stream.instance).success
    assert stream.verdict()[0] is not late
    assert stream.tick() == []
