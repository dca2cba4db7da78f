"""Rolls out a changed contract while events keep coming: tables first, then the jobs, then what serves them."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table as IcebergTable

from contracts import Family, LakehouseError, Table, bronze_events, dead_letters, late_events, silver_1m, silver_5m
from resources.catalog import ensure_tables, open_catalog
from resources.kafka import offsets_at
from resources.offsets import added_files, read_offsets
from resources.snapshots import last_committed_at
from settings import Settings
from stack.jobs.flink_rest import FlinkRest
from stack.jobs.operations import Report, start_jobs, stop_jobs
from stack.jobs.state import JobState, ResumePoint, load_state, save_state


class UpgradeError(LakehouseError):
    """A job could not be ended cleanly; it goes on as it was."""


def upgrade_jobs(settings: Settings, families: Sequence[Family], tables: Sequence[Table], report: Report) -> None:
    """Replace the jobs by ones of the contracts as they are now.

    The state of windows does not survive a change of their columns. So the old job ends with a savepoint, which
    makes its tables complete up to its positions, and the new one builds its state from the topic and writes
    only what is beyond them (:mod:`streaming.resume`).

    Raises:
        UpgradeError: a job did not end cleanly; it is started again as it was.
        SchemaMismatchError: a table cannot be evolved to its contract.
    """
    catalog = open_catalog(settings)
    for change in ensure_tables(catalog, tables, commit_retries=settings.commit_retries):
        report(change)
    stop_jobs(settings, families, report, stay_stopped=True)
    for family in families:
        state = load_state(settings, family.name)
        if not _is_finished(settings, state):
            start_jobs(settings, families)
            raise UpgradeError(
                f"the job of {family.name} did not end cleanly: the jobs were started again as they were; "
                "look at `./lakehouse status` and try again"
            )
        resume = resume_point(settings, catalog, family)
        save_state(settings, family.name, JobState(stopped=True, resume=resume))
        report(f"{family.name}: reads again from offsets {resume.read_from}")
    start_jobs(settings, families)


def _is_finished(settings: Settings, state: JobState) -> bool:
    """Whether the job has committed all it had: one whose last commit fails is restarted rather than finished."""
    jobs = {job.job_id: job.state for job in FlinkRest(settings.flink_url).jobs()}
    return state.savepoint is not None and state.job_id is not None and jobs.get(state.job_id) == "FINISHED"


def resume_point(settings: Settings, catalog: Catalog, family: Family) -> ResumePoint:
    """Positions of the family's tables, and where in the topic the state of a new job begins.

    What the old job still knew is what was current when it ended, however long ago that is.
    """
    written = _written_offsets(catalog, family)
    bronze = bronze_events(family)
    ended = last_committed_at(catalog.load_table(bronze.identifier), bronze) or datetime.now(UTC)
    state_since = ended - family.deduplication_ttl - timedelta(minutes=10)
    begin = offsets_at(settings, family.topic, state_since)
    ends = {
        table.identifier: end
        for table in (silver_1m(family), silver_5m(family))
        if (end := _newest_window_end(catalog.load_table(table.identifier))) is not None
    }
    return ResumePoint(
        read_from={partition: min(offset, written.get(partition, 0)) for partition, offset in begin.items()},
        written_up_to=written,
        windows_up_to=ends,
        late=_late_in_open_windows(catalog, family, max(ends.values(), default=None)),
    )


def _late_in_open_windows(catalog: Catalog, family: Family, closed_until: datetime | None) -> dict[int, list[int]]:
    """Offsets by partition of the late events that lie in windows which end after ``closed_until``."""
    condition = f"family = '{family.name}'"
    longest = silver_5m(family).tile
    if closed_until is not None and longest is not None:
        condition += f" and event_time >= '{(closed_until - longest).isoformat()}'"
    table = catalog.load_table(late_events((family,)).identifier)
    places = table.scan(condition, selected_fields=("kafka_partition", "kafka_offset")).to_arrow()
    grouped = places.group_by("kafka_partition").aggregate([("kafka_offset", "list")]).to_pydict()
    return dict(zip(grouped["kafka_partition"], map(sorted, grouped["kafka_offset_list"]), strict=True))


def _written_offsets(catalog: Catalog, family: Family) -> dict[int, int]:
    """Per partition, the offset below which every valid event is in bronze.

    What the collector of dead letters has proven needs no second look.
    """
    table = catalog.load_table(bronze_events(family).identifier)
    properties = catalog.load_table(dead_letters((family,)).identifier).properties
    position = json.loads(properties.get(f"collector.position.{family.name}", "{}"))
    proven = position.get("table_uuid") == str(table.metadata.table_uuid)
    written = {int(part): offset for part, offset in position["next_offsets"].items()} if proven else {}
    if (newest := table.current_snapshot()) is not None:
        files = added_files(table, after=position["sequence_number"] if proven else 0, until=newest)
        for partition, offsets in read_offsets(table, files).items():
            written[partition] = max(written.get(partition, 0), int(offsets[-1]) + 1)
    return written


def _newest_window_end(table: IcebergTable) -> datetime | None:
    column = table.schema().find_field("window_end").field_id
    ends = [
        # single-value serialization of the Iceberg specification, appendix D
        int.from_bytes(task.file.upper_bounds[column], "little", signed=True)
        for task in table.scan().plan_files()
        if column in (task.file.upper_bounds or {})
    ]
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=max(ends)) if ends else None
