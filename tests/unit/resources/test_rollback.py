"""A rollback changes what readers see in one commit, or nothing at all."""

import pytest
from hourly_on_disk import DECLARED, HourlyTable

from contracts import BATCH_WRITERS, Table, all_tables
from resources.branches import BranchError, create_branch, publish
from resources.rollback import RollbackError, plan_rollback, refuse_streams, roll_back


def test_readers_see_the_earlier_snapshot_again(hourly: HourlyTable) -> None:
    first, second, third = (hourly.append(sensor) for sensor in "abc")
    commits = len(hourly.load().metadata.metadata_log)
    done = roll_back(hourly.load(), DECLARED, first)
    assert (done.was, done.now) == (str(third.snapshot_id), str(first.snapshot_id))
    assert done.undone == [str(third.snapshot_id), str(second.snapshot_id)]
    assert hourly.sensors() == ["a"]
    assert len(hourly.load().metadata.metadata_log) == commits + 1
    # what was taken back can still be read by its id, and writing goes on from where main is
    assert hourly.sensors(third) == ["a", "b", "c"]
    hourly.append("d")
    assert hourly.sensors() == ["a", "d"]


def test_the_plan_changes_nothing(hourly: HourlyTable) -> None:
    first, _ = hourly.append("a"), hourly.append("b")
    before = hourly.load().metadata
    planned = plan_rollback(hourly.load(), DECLARED, first)
    assert hourly.load().metadata == before
    assert planned == roll_back(hourly.load(), DECLARED, first)


def test_what_another_commits_meanwhile_is_not_taken_back(hourly: HourlyTable) -> None:
    first, _ = hourly.append("a"), hourly.append("b")
    looked_at = hourly.load()
    hourly.append("c")
    with pytest.raises(RollbackError, match="changed meanwhile"):
        roll_back(looked_at, DECLARED, first)
    assert hourly.sensors() == ["a", "b", "c"]
    roll_back(hourly.load(), DECLARED, first)
    assert hourly.sensors() == ["a"]


@pytest.mark.parametrize("declared", all_tables(), ids=lambda declared: declared.identifier)
def test_only_batch_tables_are_rolled_back(declared: Table) -> None:
    if declared.writer in BATCH_WRITERS:
        refuse_streams(declared)
    else:
        with pytest.raises(RollbackError, match=r"offsets .*snapshot.*audit --repair.*jobs"):
            refuse_streams(declared)


def test_only_to_what_main_came_from(hourly: HourlyTable) -> None:
    first = hourly.append("a")
    hourly.load().manage_snapshots().create_branch(first.snapshot_id, "aside").commit()
    aside, second = hourly.append("b", branch="aside"), hourly.append("c")
    for target, message in [(aside, "did not come from"), (second, "is at snapshot .* already")]:
        with pytest.raises(RollbackError, match=message):
            roll_back(hourly.load(), DECLARED, target)
    assert hourly.sensors() == ["a", "c"]
    roll_back(hourly.load(), DECLARED, first)
    with pytest.raises(RollbackError, match="or was rolled back"):
        roll_back(hourly.load(), DECLARED, second)


def test_a_branch_does_not_bring_back_what_was_taken_back(hourly: HourlyTable) -> None:
    first, _ = hourly.append("a"), hourly.append("b")
    create_branch(hourly.load(), "run_1")
    hourly.append("c", branch="run_1")
    assert roll_back(hourly.load(), DECLARED, first).branches == ["run_1"]
    with pytest.raises(BranchError, match="rollback"):
        publish(hourly.load(), "run_1")
    assert hourly.sensors() == ["a"]
    # a run that starts now is published
    create_branch(hourly.load(), "run_2")
    hourly.append("d", branch="run_2")
    hourly.append("e", branch="run_2")
    publish(hourly.load(), "run_2")
    assert hourly.sensors() == ["a", "d", "e"]


def test_a_branch_that_began_at_the_target_stays_good(hourly: HourlyTable) -> None:
    first = hourly.append("a")
    create_branch(hourly.load(), "run_1")
    hourly.append("c", branch="run_1")
    hourly.append("b")
    assert roll_back(hourly.load(), DECLARED, first).branches == []
    publish(hourly.load(), "run_1")
    assert hourly.sensors() == ["a", "c"]
