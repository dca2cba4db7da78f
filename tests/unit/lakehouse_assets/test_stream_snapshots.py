"""The sensor that reports the snapshots of services, ticked against real tables on an ephemeral instance."""

import tempfile
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from iceberg_on_disk import START, arrow_rows, open_disk_catalog, plausible_row
from pyiceberg.catalog import Catalog

from contracts import all_tables, dead_letters, families
from lakehouse_assets.describe import table_key
from lakehouse_assets.streaming import sensors

BRONZE = all_tables()[0]
KEY = table_key(BRONZE)


class Stream:
    """A table with its Flink job, and the daemon that ticks the sensor."""

    def __init__(self, catalog: Catalog, instance: dg.DagsterInstance) -> None:
        self.catalog = catalog
        self.instance = instance
        self.cursor: str | None = None
        self.checkpoints = 0

    def commit(self, *seconds: int, flink: bool = True) -> None:
        rows = arrow_rows(self.catalog, BRONZE, [plausible_row(BRONZE, second) for second in seconds])
        properties = {}
        if flink:
            self.checkpoints += 1
            properties = {"flink.job-id": "j", "flink.max-committed-checkpoint-id": str(self.checkpoints)}
        self.catalog.load_table(BRONZE.identifier).append(rows, snapshot_properties=properties)

    def tick(self, *, killed_after: int | None = None) -> list[dg.AssetMaterialization]:
        """Tick as the daemon does: store the events in turn, then the cursor; return the new ones."""
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources={"catalog": self.catalog}
        )
        result = sensors.stream_snapshots.evaluate_tick(context)
        events = [event for event in result.asset_events if isinstance(event, dg.AssetMaterialization)]
        for event in events[:killed_after]:
            self.instance.report_runless_asset_event(event)
        if killed_after is None:
            self.cursor = result.cursor
        return events

    def reported(self) -> list[int]:
        records = self.instance.fetch_materializations(KEY, limit=1000, ascending=True).records
        return [checkpoint(record.asset_materialization) for record in records]


def checkpoint(event: dg.AssetMaterialization | None) -> int:
    assert event is not None
    value = event.metadata["checkpoint_id"].value
    assert isinstance(value, int)
    return value


@pytest.fixture
def stream(disk_catalog: Catalog) -> Stream:
    return Stream(disk_catalog, dg.DagsterInstance.ephemeral())


def test_each_snapshot_is_reported_once_with_its_figures(stream: Stream) -> None:
    stream.commit(5, 90, 7)
    stream.commit(20)
    first, second = stream.tick()
    assert [checkpoint(first), checkpoint(second)] == [1, 2]
    assert first.asset_key == KEY
    history = stream.catalog.load_table(BRONZE.identifier).snapshots()
    newest_event = START + timedelta(seconds=90)
    committed = history[0].timestamp_ms / 1000
    assert first.metadata["snapshot_id"].value == str(history[0].snapshot_id)
    assert first.metadata["added_records"].value == 3
    assert first.metadata["watermark"].value == newest_event.timestamp()
    assert first.metadata["committed_at"].value == pytest.approx(committed)
    assert first.metadata["lag_s"].value == pytest.approx(committed - newest_event.timestamp())
    assert second.metadata["dagster/row_count"].value == 4
    assert stream.tick() == []


def test_commits_of_others_are_not_reported(stream: Stream) -> None:
    stream.commit(1, flink=False)
    assert stream.tick() == []
    stream.commit(2)
    stream.commit(3, flink=False)
    assert [checkpoint(event) for event in stream.tick()] == [1]


def test_dead_letters_are_reported_when_the_collector_appends_them(stream: Stream) -> None:
    declared = dead_letters(families())
    table = stream.catalog.load_table(declared.identifier)
    table.append(arrow_rows(stream.catalog, declared, [plausible_row(declared, second) for second in (1, 2)]))
    table.delete("kafka_offset = 1")
    with table.transaction() as transaction:  # a position alone makes no snapshot
        transaction.set_properties({"collector.position.weather": "{}"})
    [event] = stream.tick()
    assert event.asset_key == table_key(declared)
    assert event.metadata["added_records"].value == 2
    assert event.metadata["watermark"].value == (START + timedelta(seconds=2)).timestamp()
    assert "checkpoint_id" not in event.metadata
    assert stream.tick() == []


def test_a_backlog_is_reported_in_order_over_several_ticks(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensors, "MAX_EVENTS_PER_TABLE", 2)
    for second in range(5):
        stream.commit(second)
    assert [[checkpoint(event) for event in stream.tick()] for _ in range(4)] == [[1, 2], [3, 4], [5], []]


@pytest.mark.parametrize("stored", [0, 1, 2, 3])
def test_a_daemon_killed_within_a_tick_goes_on_where_it_was(stream: Stream, stored: int) -> None:
    for second in range(3):
        stream.commit(second)
    stream.tick(killed_after=stored)
    stream.tick()
    assert stream.reported() == [1, 2, 3]


def test_an_expired_cursor_resumes_at_the_oldest_retained_snapshot(stream: Stream) -> None:
    stream.commit(1)
    stream.tick()
    stream.commit(2)
    stream.commit(3)
    table = stream.catalog.load_table(BRONZE.identifier)
    table.maintenance.expire_snapshots().by_ids([s.snapshot_id for s in table.snapshots()[:2]]).commit()
    assert [checkpoint(event) for event in stream.tick()] == [3]


def test_a_table_that_was_dropped_and_created_again_starts_afresh(stream: Stream) -> None:
    stream.commit(1)
    stream.commit(2)
    stream.tick()
    stream.catalog.drop_table(BRONZE.identifier)
    from resources.catalog import ensure_tables

    ensure_tables(stream.catalog, all_tables(), commit_retries=10)
    stream.commit(3)
    assert [checkpoint(event) for event in stream.tick()] == [3]


def test_a_materialization_reported_by_hand_does_not_confuse_it(stream: Stream) -> None:
    stream.commit(1)
    stream.tick()
    stream.instance.report_runless_asset_event(dg.AssetMaterialization(KEY))
    stream.commit(2)
    assert [checkpoint(event) for event in stream.tick()] == [2]


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens in whatever order: each commit of Flink is reported once, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.stream = Stream(open_disk_catalog(Path(self.folder.name)), dg.DagsterInstance.ephemeral())

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule()
    def flink_commits(self) -> None:
        self.stream.commit(self.stream.checkpoints)

    @rule()
    def another_commits(self) -> None:
        self.stream.commit(1, flink=False)

    @rule()
    def tick(self) -> None:
        self.stream.tick()
        assert self.stream.reported() == list(range(1, self.stream.checkpoints + 1))

    @rule(stored=st.integers(0, 3))
    def tick_and_die(self, stored: int) -> None:
        self.stream.tick(killed_after=stored)

    @rule()
    def expire_what_is_reported(self) -> None:
        table = self.stream.catalog.load_table(BRONZE.identifier)
        reported = self.stream.reported()
        old = []
        for snapshot in table.snapshots()[:-1]:
            # expiry goes by age: nothing behind a commit that is not reported yet
            summary = snapshot.summary
            if summary and int(summary.get("flink.max-committed-checkpoint-id") or 0) > max(reported, default=0):
                break
            old.append(snapshot.snapshot_id)
        if old:
            table.maintenance.expire_snapshots().by_ids(old).commit()

    @invariant()
    def nothing_twice_and_nothing_skipped(self) -> None:
        reported = self.stream.reported()
        assert reported == list(range(1, len(reported) + 1))


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=5, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
