"""The history of a table says who wrote what, and each of its snapshots is read as it was."""

from datetime import UTC, datetime

import pytest
from hourly_on_disk import HourlyTable
from pyiceberg.types import LongType, StringType

from resources.history import UnknownSnapshotError, WrittenBy, find_snapshot, history

NOBODY = WrittenBy(job_id=None, checkpoint_id=None, run_id=None, engine=None)


def test_an_empty_table_has_no_history(hourly: HourlyTable) -> None:
    assert history(hourly.load(), limit=5) == []


def test_each_snapshot_says_who_wrote_what(hourly: HourlyTable) -> None:
    hourly.append(
        "a", "b", "c", flink__job_id="f00", flink__max_committed_checkpoint_id="17",
        flink__watermark="1709251200123",
    )  # fmt: skip
    hourly.append("d", lakehouse__run_id="r-1", engine_name="spark")
    hourly.load().delete("sensor_id = 'd'")
    deleted, run, job = history(hourly.load(), limit=20)

    assert job.written_by == WrittenBy(job_id="f00", checkpoint_id=17, run_id=None, engine=None)
    assert job.watermark == datetime(2024, 3, 1, 0, 0, 0, 123_000, tzinfo=UTC)
    assert (job.operation, job.added_rows, job.deleted_rows, job.total_rows) == ("append", 3, 0, 3)
    assert run.written_by == WrittenBy(job_id=None, checkpoint_id=None, run_id="r-1", engine="spark")
    assert run.watermark is None
    assert (run.added_rows, run.total_rows) == (1, 4)
    assert deleted.written_by == NOBODY
    assert (deleted.operation, deleted.added_rows, deleted.deleted_rows, deleted.total_rows) == ("delete", 0, 1, 3)
    assert [deleted.parent_id, run.parent_id, job.parent_id] == [run.snapshot_id, job.snapshot_id, None]
    stamps = {str(s.snapshot_id): s.timestamp_ms for s in hourly.load().snapshots()}
    for entry in (deleted, run, job):
        assert entry.committed_at.utcoffset() == datetime.now(UTC).utcoffset()
        assert entry.committed_at.timestamp() == pytest.approx(stamps[entry.snapshot_id] / 1000)


def test_branches_and_tags_point_and_only_ancestors_of_main_are_in_it(hourly: HourlyTable) -> None:
    first = hourly.append("a")
    manage = hourly.load().manage_snapshots()
    manage.create_tag(first.snapshot_id, "v1").create_branch(first.snapshot_id, "run_1").commit()
    aside = hourly.append("b", branch="run_1")
    second = hourly.append("c")
    found = {entry.snapshot_id: entry for entry in history(hourly.load(), limit=20)}
    assert [int(id_) for id_ in found] == [second.snapshot_id, aside.snapshot_id, first.snapshot_id]
    shown = [(entry.branches, entry.tags, entry.in_main) for entry in found.values()]
    assert shown == [(["main"], [], True), (["run_1"], [], False), ([], ["v1"], True)]
    hourly.load().manage_snapshots().rollback_to_snapshot(first.snapshot_id).commit()
    shown = [(entry.branches, entry.in_main) for entry in history(hourly.load(), limit=20)]
    assert shown == [([], False), (["run_1"], False), (["main"], True)]


def test_the_newest_are_listed_and_the_expired_are_not(hourly: HourlyTable) -> None:
    written = [hourly.append(str(number)).snapshot_id for number in range(4)]
    assert [int(e.snapshot_id) for e in history(hourly.load(), limit=2)] == [written[3], written[2]]
    hourly.load().maintenance.expire_snapshots().by_ids(written[:2]).commit()
    assert [int(e.snapshot_id) for e in history(hourly.load(), limit=9)] == [written[3], written[2]]


def test_a_snapshot_is_found_by_id_branch_and_tag(hourly: HourlyTable) -> None:
    first, second = hourly.append("a"), hourly.append("b")
    hourly.load().manage_snapshots().create_tag(first.snapshot_id, "v1").commit()
    table = hourly.load()
    for name, expected in [(str(first.snapshot_id), first), ("v1", first), ("main", second)]:
        assert find_snapshot(table, name).snapshot_id == expected.snapshot_id


@pytest.mark.parametrize("name", ["12", "-12", "v2", "", "²"])
def test_what_is_unknown_is_answered_with_where_to_look(hourly: HourlyTable, name: str) -> None:
    hourly.append("a")
    with pytest.raises(UnknownSnapshotError, match=r"`\./lakehouse table gold\.weather_hourly history`"):
        find_snapshot(hourly.load(), name)


def test_an_expired_snapshot_is_unknown(hourly: HourlyTable) -> None:
    first, _ = hourly.append("a"), hourly.append("b")
    hourly.load().maintenance.expire_snapshots().by_id(first.snapshot_id).commit()
    with pytest.raises(UnknownSnapshotError, match=f"'{first.snapshot_id}': it was expired"):
        find_snapshot(hourly.load(), str(first.snapshot_id))


def test_an_old_snapshot_is_read_with_its_own_columns(hourly: HourlyTable) -> None:
    plain = ["sensor_id", "window_start", "window_end", "zone", "event_count"]
    hourly.append("a")
    first = hourly.head()
    with hourly.load().update_schema() as update:
        update.add_column("quality", StringType()).rename_column("zone", "area")
    hourly.load().append(hourly.rows(["b"], area="quay", quality="good"))
    second = hourly.head()
    with hourly.load().update_schema() as update:
        update.delete_column("area").add_column("zone", LongType())
    hourly.load().append(hourly.rows(["c"], zone=7))

    def read(snapshot_id: int) -> dict[str, dict[str, object]]:
        rows = hourly.load().scan(snapshot_id=snapshot_id).to_arrow()
        return {row["sensor_id"]: row for row in rows.to_pylist()}

    found = read(first.snapshot_id)
    assert list(found["a"]) == plain
    assert found["a"]["zone"] == "harbour"
    found = read(second.snapshot_id)
    assert list(found["b"]) == ["sensor_id", "window_start", "window_end", "area", "event_count", "quality"]
    assert [(row["area"], row["quality"]) for row in (found["a"], found["b"])] == [
        ("harbour", None),
        ("quay", "good"),
    ]
    # another column that has the old name
    found = read(hourly.head().snapshot_id)
    assert [found[sensor]["zone"] for sensor in "abc"] == [None, None, 7]


def test_a_filter_on_an_old_snapshot_names_columns_as_they_are_now(hourly: HourlyTable) -> None:
    """PyIceberg binds filters to the current schema."""
    first = hourly.append("a")
    with hourly.load().update_schema() as update:
        update.rename_column("zone", "area")
    rows = hourly.load().scan("area = 'harbour'", snapshot_id=first.snapshot_id).to_arrow()
    assert rows.column_names[3] == "zone"
    assert rows["sensor_id"].to_pylist() == ["a"]
    with pytest.raises(ValueError, match="zone"):
        hourly.load().scan("zone = 'harbour'", snapshot_id=first.snapshot_id).to_arrow()
