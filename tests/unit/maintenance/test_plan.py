"""What is due, on real metadata: nothing that a writer or a reader still needs may go."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Operation, Snapshot, Summary
from pyiceberg.table.statistics import BlobMetadata, StatisticsFile

from contracts import Layer, Maintenance, Table, all_tables, bronze_events, family
from maintenance.plan import PartitionFiles, expiry, last_commits, plan
from maintenance.statistics import TableStatistics, read_statistics
from resources.catalog import ensure_tables

WEATHER = family("weather")
RULES = Maintenance(keep_snapshots=timedelta(hours=6), keep_at_least=3, compact_at=4, max_manifests=6)
DECLARED = replace(bronze_events(WEATHER), maintenance=RULES)
NOW = datetime.now(UTC)
YESTERDAY = NOW - timedelta(days=2)


@pytest.fixture
def table(tmp_path: Path) -> IcebergTable:
    catalog = SqlCatalog("disk", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}")
    ensure_tables(catalog, [DECLARED], commit_retries=10)
    return catalog.load_table(DECLARED.identifier)


def append(table: IcebergTable, moment: datetime, *, job: str | None = None, checkpoint: int = 1) -> None:
    row: dict[str, Any] = {
        "event_id": "e", "sensor_id": "s", "event_time": moment,
        "kafka_partition": 0, "kafka_offset": 0, "kafka_time": moment,
    }  # fmt: skip
    properties = {} if job is None else {"flink.job-id": job, "flink.max-committed-checkpoint-id": str(checkpoint)}
    table.append(pa.Table.from_pylist([row], table.schema().as_arrow()), snapshot_properties=properties)


def test_nothing_is_due_for_an_empty_table(table: IcebergTable) -> None:
    found = plan(table, DECLARED, NOW, {})
    assert not found.is_due
    assert (found.files, found.snapshots) == (0, 0)


def test_an_open_day_waits_for_more_files_than_a_closed_one(table: IcebergTable) -> None:
    for moment in (NOW, NOW, NOW, YESTERDAY, YESTERDAY):
        append(table, moment)
    [due] = plan(table, DECLARED, NOW, {}).compact
    assert due == PartitionFiles(day=YESTERDAY.date(), closed=True, files=2, small_files=2, bytes=due.bytes)
    append(table, NOW)
    assert [(part.day, part.closed) for part in plan(table, DECLARED, NOW, {}).compact] == [
        (YESTERDAY.date(), True),
        (NOW.date(), False),
    ]


def test_years_of_history_are_joined_a_part_at_a_time(
    table: IcebergTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maintenance.plan.MAX_PARTITIONS", 2)
    for day in (1, 2, 3, 1, 2, 3):
        append(table, datetime(2026, 3, day, tzinfo=UTC))
    assert [part.day for part in plan(table, DECLARED, NOW, {}).compact] == [date(2026, 3, 1), date(2026, 3, 2)]


def test_a_day_is_closed_some_time_after_its_end(table: IcebergTable) -> None:
    moment = datetime(2026, 3, 1, 23, tzinfo=UTC)
    append(table, moment)
    append(table, moment)
    end = datetime(2026, 3, 2, tzinfo=UTC) + RULES.closes_after
    assert not plan(table, DECLARED, end - timedelta(microseconds=1), {}).compact
    [due] = plan(table, DECLARED, end, {}).compact
    assert due.day == date(2026, 3, 1)


def test_a_file_of_the_target_size_is_left_alone(table: IcebergTable) -> None:
    append(table, YESTERDAY)
    append(table, YESTERDAY)
    tiny = replace(DECLARED, maintenance=replace(RULES, target_file_bytes=1))
    assert not plan(table, tiny, NOW, {}).compact


def test_many_manifests_are_rewritten(table: IcebergTable) -> None:
    for _ in range(RULES.max_manifests - 1):
        append(table, NOW)
    assert not plan(table, DECLARED, NOW, {}).rewrite_manifests
    append(table, NOW)
    assert plan(table, DECLARED, NOW, {}).rewrite_manifests


def test_the_newest_snapshots_stay_whatever_their_age(table: IcebergTable) -> None:
    for _ in range(5):
        append(table, NOW)
    later = datetime.now(UTC) + timedelta(days=1)
    assert expiry(table, RULES, NOW, {}).before is None
    assert expiry(table, RULES, later, {}).snapshots == 2


def test_the_last_commit_of_a_silent_job_holds_the_history_behind_it(table: IcebergTable) -> None:
    append(table, NOW)
    append(table, NOW, job="quiet")
    for checkpoint in range(4):
        append(table, NOW, job="busy", checkpoint=checkpoint)
    later = datetime.now(UTC) + timedelta(days=1)
    jobs = {"quiet": "traffic", "busy": "weather"}
    cut = expiry(table, RULES, later, jobs)
    assert cut.snapshots == 1
    quiet = table.metadata.snapshots[1]
    assert cut.before == datetime.fromtimestamp(quiet.timestamp_ms / 1000, UTC)
    # once another job of its family has committed, the quiet one is history
    assert expiry(table, RULES, later, {"quiet": "weather", "busy": "weather"}).snapshots == 3
    assert expiry(table, RULES, later, {"busy": "weather"}).snapshots == 3


def describe(table: IcebergTable, **distinct: int) -> str:
    """Say that the current snapshot has statistics, as an engine does once it has written their file."""
    snapshot = table.current_snapshot()
    assert snapshot is not None
    file = f"{table.location()}/metadata/{snapshot.snapshot_id}.stats"
    blobs = [
        BlobMetadata.model_validate(
            {
                "type": "apache-datasketches-theta-v1",
                "snapshot-id": snapshot.snapshot_id,
                "sequence-number": snapshot.sequence_number,
                "fields": [table.schema().find_field(name).field_id],
                "properties": {"ndv": str(number)},
            }
        )
        for name, number in distinct.items()
    ]
    fields = {
        "snapshot-id": snapshot.snapshot_id,
        "statistics-path": file,
        "file-size-in-bytes": 1,
        "file-footer-size-in-bytes": 1,
        "blob-metadata": blobs,
    }
    with table.update_statistics() as update:
        update.set_statistics(StatisticsFile.model_validate(fields))
    return file


COUNTED = replace(DECLARED, maintenance=replace(RULES, statistics_after=timedelta(days=1)))
SOON, TOMORROW = timedelta(hours=23), timedelta(hours=25)
NEXT_MONTH = timedelta(days=30)
"""A file of its own day is not joined with others."""


def test_statistics_are_computed_once_there_are_rows_and_again_a_day_after(table: IcebergTable) -> None:
    assert not plan(table, COUNTED, NOW, {}).is_due
    append(table, NOW)
    due = plan(table, COUNTED, NOW, {})
    assert due.is_due
    assert due.statistics == ["kafka_partition", "kafka_offset", "sensor_id", "event_time"]
    assert not plan(table, DECLARED, NOW, {}).statistics

    describe(table)
    assert not plan(table, COUNTED, NOW + TOMORROW, {}).statistics  # nothing has changed since
    append(table, NOW + NEXT_MONTH)
    assert not plan(table, COUNTED, NOW + SOON, {}).statistics
    assert plan(table, COUNTED, NOW + TOMORROW, {}).statistics == due.statistics


def test_statistics_follow_a_closed_day_that_is_joined(table: IcebergTable) -> None:
    append(table, YESTERDAY)
    describe(table)
    for _ in range(RULES.compact_at):
        append(table, NOW)
    due = plan(table, COUNTED, NOW, {})
    assert [part.closed for part in due.compact] == [False]
    assert not due.statistics
    append(table, YESTERDAY)
    assert plan(table, COUNTED, NOW, {}).statistics


def test_statistics_that_expire_are_replaced_in_the_same_go(table: IcebergTable) -> None:
    declared = replace(COUNTED, maintenance=replace(COUNTED.maintenance, statistics_after=timedelta(days=9)))
    append(table, NOW)
    describe(table)
    for number in range(1, RULES.keep_at_least):
        append(table, NOW + number * NEXT_MONTH)
    later = datetime.now(UTC) + timedelta(days=1)
    assert not plan(table, declared, later, {}).statistics
    append(table, NOW - NEXT_MONTH)
    due = plan(table, declared, later, {})
    assert due.expire_snapshots == 1
    assert due.statistics


def test_statistics_are_read_by_the_names_of_the_columns(table: IcebergTable) -> None:
    append(table, NOW)
    file = describe(table, sensor_id=12, zone=3)
    snapshot = table.current_snapshot()
    assert snapshot is not None
    assert read_statistics(table, file) == TableStatistics(
        file=file, snapshot_id=snapshot.snapshot_id, distinct={"sensor_id": 12, "zone": 3}
    )
    assert read_statistics(table, f"{file}.other") is None


def test_tables_that_are_joined_have_statistics_and_events_have_none() -> None:
    counted = {each.identifier for each in all_tables() if each.maintenance.statistics_after is not None}
    assert counted == {each.identifier for each in all_tables() if each.layer is not Layer.BRONZE}


writers = st.sampled_from(["job-a1", "job-a2", "job-b", "unknown", "plain", "compaction"])
FAMILIES_BY_JOB = {"job-a1": "a", "job-a2": "a", "job-b": "b"}


@given(st.lists(writers, max_size=20))
def test_each_family_keeps_its_newest_commit_and_compaction_holds_nothing(names: list[str]) -> None:
    snapshots = []
    for number, name in enumerate(names):
        operation = Operation.REPLACE if name == "compaction" else Operation.APPEND
        flink = {"flink.job-id": name, "flink.max-committed-checkpoint-id": "1"}
        said = flink if name.startswith("job") or name == "unknown" else {}
        snapshots.append(
            Snapshot(
                snapshot_id=number, timestamp_ms=number, manifest_list="m", summary=Summary(operation, **said)
            )
        )
    expected = {
        max((n for n, name in enumerate(names) if name in group), default=None)
        for group in ({"job-a1", "job-a2"}, {"job-b"})
    } - {None}
    kept = last_commits(reversed(snapshots), FAMILIES_BY_JOB)
    assert {snapshot.snapshot_id for snapshot in kept} == expected


@pytest.mark.parametrize("declared", all_tables(), ids=lambda declared: declared.identifier)
def test_the_rules_of_every_table_keep_what_is_under_way(declared: Table) -> None:
    rules = declared.maintenance
    assert rules.orphans_after >= timedelta(days=1), "the procedure refuses less"
    assert rules.keep_at_least >= 1
    assert rules.compact_at >= 2
