"""Maintenance on a running stack: tables that are written meanwhile keep every row, and jobs still know theirs."""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import FileSelector
from pyiceberg.catalog import Catalog
from pyiceberg.table.snapshots import Operation
from pyspark.sql import SparkSession
from simulation import Simulation
from waiting import until

from audit.run import audit
from contracts import Maintenance, bronze_events, family
from maintenance.run import TableMaintenance, maintain
from maintenance.spark_actions import SparkActions
from resources.catalog import WRITE_PROPERTIES, ensure_tables, open_catalog
from resources.object_store import object_store
from resources.offsets import operation
from settings import Settings
from stack.jobs.operations import await_running, start_jobs, stop_jobs

FAMILY = family("traffic")
BRONZE = bronze_events(FAMILY)
EAGER = Maintenance(keep_snapshots=timedelta(0), keep_at_least=3, compact_at=2, metadata_after=timedelta(0))
OWN = replace(BRONZE, name="maintained_events", maintenance=EAGER)
"""A table that only this test writes to."""
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
LONG_AGO = datetime(2001, 4, 1, tzinfo=UTC)
FILES = 12
ROWS_PER_FILE = 50
APPEND_EVERY_S = 0.5
"""Far more often than a job does, and yet leaves another committer room on a slow machine."""
LOGGED = int(WRITE_PROPERTIES["write.metadata.previous-versions-max"])


@pytest.fixture
def catalog(settings: Settings) -> Iterator[Catalog]:
    catalog = open_catalog(settings)
    ensure_tables(catalog, [OWN], commit_retries=settings.commit_retries)
    yield catalog
    catalog.drop_table(OWN.identifier)


def append(catalog: Catalog, day: datetime, first_offset: int) -> None:
    """One file of rows in descending order of sensors."""
    rows = [
        {
            "event_id": str(first_offset + number),
            "sensor_id": f"s{ROWS_PER_FILE - number:03d}",
            "event_time": day + timedelta(seconds=number),
            "kafka_partition": 0,
            "kafka_offset": first_offset + number,
            "kafka_time": day,
        }
        for number in range(ROWS_PER_FILE)
    ]
    table = catalog.load_table(OWN.identifier)
    table.append(pa.Table.from_pylist(rows, table.schema().as_arrow()))


def test_rows_are_kept_sorted_and_readable_while_others_append(
    settings: Settings, catalog: Catalog, session: SparkSession
) -> None:
    for number in range(FILES):
        append(catalog, LONG_AGO if number % 2 else TODAY, number * ROWS_PER_FILE)
    stop, appended = threading.Event(), []

    def keep_appending() -> None:
        while not stop.wait(APPEND_EVERY_S):
            append(catalog, TODAY, (FILES + len(appended)) * ROWS_PER_FILE)
            appended.append(1)

    writer = threading.Thread(target=keep_appending)
    writer.start()
    try:
        [done] = maintain(catalog, settings, [OWN], lambda: session)
    finally:
        stop.set()
        writer.join()
    assert done.plan.files >= FILES
    assert done.rewritten_files >= FILES
    assert done.expired_files > 0

    table = catalog.load_table(OWN.identifier)
    expected = (FILES + len(appended)) * ROWS_PER_FILE
    offsets = table.scan(selected_fields=("kafka_offset",)).to_arrow()["kafka_offset"].to_pylist()
    assert sorted(offsets) == list(range(expected))

    old_day = "event_time < '2002-01-01T00:00:00+00:00'"
    [closed] = table.scan(row_filter=old_day).plan_files()
    with table.io.new_input(closed.file.file_path).open() as stream:
        found = pq.read_table(stream, columns=["sensor_id", "event_time"]).to_pylist()
    assert len(found) == FILES // 2 * ROWS_PER_FILE
    assert found == sorted(found, key=lambda row: (row["sensor_id"], row["event_time"]))


def test_the_metadata_of_earlier_commits_goes_and_the_table_stays_readable(
    settings: Settings, catalog: Catalog, session: SparkSession
) -> None:
    # PyIceberg removes what falls out of the log by itself; Flink's and Spark's client leaves that to the catalog
    with catalog.load_table(OWN.identifier).transaction() as changes:
        changes.set_properties({"write.metadata.delete-after-commit.enabled": "false"})
    for number in range(LOGGED + 10):
        append(catalog, TODAY, number * ROWS_PER_FILE)
    store = object_store(settings)

    def metadata_files() -> set[str]:
        folder = catalog.load_table(OWN.identifier).location().removeprefix("s3://") + "/metadata"
        return {
            file.path for file in store.get_file_info(FileSelector(folder)) if file.path.endswith("metadata.json")
        }

    def named() -> set[str]:
        table = catalog.load_table(OWN.identifier)
        locations = [table.metadata_location, *(entry.metadata_file for entry in table.metadata.metadata_log)]
        return {location.removeprefix("s3://") for location in locations}

    before = metadata_files()
    assert len(before - named()) >= 10, "the catalog leaves them behind"
    [due] = maintain(catalog, settings, [OWN], lambda: session, dry_run=True)
    assert (metadata_files(), due.metadata_files) == (before, len(before - named()))
    declared = replace(OWN, maintenance=replace(EAGER, metadata_after=timedelta(days=1)))
    [young] = maintain(catalog, settings, [declared], lambda: session)
    assert young.metadata_files == 0
    [done] = maintain(catalog, settings, [OWN], lambda: session)
    assert done.metadata_files >= 10
    assert metadata_files() == named()
    rows = catalog.load_table(OWN.identifier).scan(selected_fields=("kafka_offset",)).to_arrow()
    assert sorted(rows["kafka_offset"].to_pylist()) == list(range((LOGGED + 10) * ROWS_PER_FILE))


def test_many_manifests_become_few(settings: Settings, catalog: Catalog, session: SparkSession) -> None:
    many = 6
    for number in range(many):
        append(catalog, LONG_AGO + timedelta(days=number), number * ROWS_PER_FILE)
    declared = replace(OWN, maintenance=replace(EAGER, max_manifests=many))
    [done] = maintain(catalog, settings, [declared], lambda: session)
    assert done.rewritten_manifests == many
    assert done.after is not None
    assert done.after.manifests == 1
    assert catalog.load_table(OWN.identifier).scan().to_arrow().num_rows == many * ROWS_PER_FILE


def test_a_dry_run_changes_nothing(settings: Settings, catalog: Catalog) -> None:
    for number in range(4):
        append(catalog, LONG_AGO, number * ROWS_PER_FILE)
    before = catalog.load_table(OWN.identifier).metadata

    def no_session() -> SparkSession:
        pytest.fail("a dry run needs no Spark")

    [done] = maintain(catalog, settings, [OWN], no_session, dry_run=True)
    assert [(part.day, part.small_files) for part in done.plan.compact] == [(LONG_AGO.date(), 4)]
    assert done.plan.expire_snapshots == 1
    assert catalog.load_table(OWN.identifier).metadata == before


def test_only_old_files_that_nothing_lists_are_removed(
    settings: Settings, catalog: Catalog, session: SparkSession
) -> None:
    append(catalog, TODAY, 0)
    table = catalog.load_table(OWN.identifier)
    listed = {task.file.file_path for task in table.scan().plan_files()}
    young = f"{table.location()}/data/left-over.parquet"
    with table.io.new_output(young).create() as stream:
        stream.write(b"left over")
    [done] = maintain(catalog, settings, [OWN], lambda: session, orphans=True)
    assert done.orphans == []
    with table.io.new_input(young).open() as stream:
        assert stream.read() == b"left over"

    # the store sets the time of a file itself: a listing that says that both are old takes its place
    old = datetime.now(UTC) - OWN.maintenance.orphans_after - timedelta(hours=1)
    names = [(path, old) for path in (young, *listed)]
    session.createDataFrame(names, "file_path string, last_modified timestamp").createOrReplaceTempView("listing")
    actions = SparkActions(session, settings.catalog_name, OWN)
    before = datetime.now(UTC) - OWN.maintenance.orphans_after
    assert actions.remove_orphans(before, dry_run=True, listing="listing") == [young]
    assert table.io.new_input(young).exists()
    assert actions.remove_orphans(before, dry_run=False, listing="listing") == [young]
    assert not table.io.new_input(young).exists()
    assert catalog.load_table(OWN.identifier).scan().to_arrow().num_rows == ROWS_PER_FILE


def test_statistics_outlive_what_expires_and_what_nothing_lists(
    settings: Settings, catalog: Catalog, session: SparkSession
) -> None:
    declared = replace(OWN, maintenance=replace(EAGER, statistics_after=timedelta(0)))

    def maintained() -> TableMaintenance:
        [done] = maintain(catalog, settings, [declared], lambda: session)
        return done

    def statistics() -> list[str]:
        return [each.statistics_path for each in catalog.load_table(OWN.identifier).metadata.statistics]

    for number in range(2):
        append(catalog, LONG_AGO, number * ROWS_PER_FILE)
    done = maintained()
    assert done.rewritten_files == 2
    assert done.statistics is not None
    # of each file the same sensors and times, and offsets of its own
    assert done.statistics.distinct == {
        "kafka_partition": 1,
        "kafka_offset": 2 * ROWS_PER_FILE,
        "sensor_id": ROWS_PER_FILE,
        "event_time": ROWS_PER_FILE,
    }
    first = done.statistics.file
    assert statistics() == [first]

    for number in range(2, 2 + EAGER.keep_at_least):
        append(catalog, LONG_AGO + timedelta(days=number), number * ROWS_PER_FILE)
    assert statistics() == [first]  # a commit keeps them
    done = maintained()
    assert done.statistics is not None
    second = done.statistics.file
    assert statistics() == [second]
    io = catalog.load_table(OWN.identifier).io
    assert not io.new_input(first).exists()

    # the store sets the time of a file itself: a listing that says that it is old takes its place
    old = datetime.now(UTC) - OWN.maintenance.orphans_after - timedelta(hours=1)
    session.createDataFrame([(second, old)], "file_path string, last_modified timestamp").createOrReplaceTempView(
        "statistics_listing"
    )
    actions = SparkActions(session, settings.catalog_name, OWN)
    before = datetime.now(UTC) - OWN.maintenance.orphans_after
    assert actions.remove_orphans(before, dry_run=False, listing="statistics_listing") == []
    with io.new_input(second).open() as stream:
        assert stream.read()[:4] == b"PFA1"  # a Puffin file
    expected = (2 + EAGER.keep_at_least) * ROWS_PER_FILE
    assert catalog.load_table(OWN.identifier).scan().to_arrow().num_rows == expected
    assert session.table(f"{settings.catalog_name}.{OWN.identifier}").count() == expected


@pytest.mark.timeout(900)
def test_a_job_whose_files_are_joined_and_history_cut_commits_each_event_once(
    settings: Settings, session: SparkSession
) -> None:
    catalog = open_catalog(settings)
    declared = replace(BRONZE, maintenance=EAGER)
    simulation = Simulation(settings, FAMILY)
    try:
        for _ in range(2):
            await_commits(catalog, 4)
            [done] = maintain(catalog, settings, [declared], lambda: session)
            assert done.rewritten_files > 0
        assert done.after is not None
        # the job goes on committing meanwhile
        assert done.after.snapshots < done.plan.snapshots + EAGER.keep_at_least
        assert done.expired_files > 0

        stop_jobs(settings, (FAMILY,), print, stay_stopped=True)
        maintain(catalog, settings, [declared], lambda: session)
        start_jobs(settings, (FAMILY,))
        await_running(settings, (FAMILY,))
        await_commits(catalog, 2)
    finally:
        ledger = simulation.end()
    expected = ledger.acknowledged - ledger.by_kind.malformed
    ranges = " or ".join(
        f"(kafka_partition = {p} and kafka_offset >= {r.first_offset} and kafka_offset <= {r.last_offset})"
        for p, r in ledger.partitions.items()
    )

    def places() -> Counter[tuple[int, int]]:
        bronze = catalog.load_table(BRONZE.identifier)
        columns = ("kafka_partition", "kafka_offset")
        found = bronze.scan(row_filter=ranges, selected_fields=columns).to_arrow()
        return Counter(zip(*(found[name].to_pylist() for name in columns), strict=True))

    until(lambda: places().total() >= expected, "every event is in bronze")
    assert places().total() == len(places()) == expected
    for full in (False, True):
        [report] = audit(settings, [FAMILY], full=full).tables
        assert report.violations() == []


def await_commits(catalog: Catalog, count: int) -> None:
    def appends() -> int:
        snapshots = catalog.load_table(BRONZE.identifier).metadata.snapshots
        return max((s.sequence_number or 0 for s in snapshots if operation(s) is Operation.APPEND), default=0)

    seen, latest = 0, appends()

    def happened() -> bool:
        nonlocal seen, latest
        now = appends()
        seen, latest = seen + (now > latest), now
        return seen >= count

    until(happened, f"{count} commits of the job")


def test_the_command_does_what_its_dry_run_says(settings: Settings, root: Path) -> None:
    def run(*arguments: str) -> list[TableMaintenance]:
        done = subprocess.run(
            [sys.executable, "-m", "stack", "maintain", "silver.late_events", "--json", *arguments],
            capture_output=True, text=True, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout.splitlines()[-1])
        return [TableMaintenance.model_validate(table) for table in answer["tables"]]

    [due], [done] = run("--dry-run"), run()
    assert due.after is None
    assert done.after is not None
    assert done.plan.files >= due.plan.files
    assert not done.after.compact
