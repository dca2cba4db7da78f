"""Every kind of violation, made by hand in a real table: each is found with its offsets, and nothing else is."""

import pytest
from audit_bench import FAMILY, Bench, places

from audit import sources
from audit.bronze import audit_table
from audit.report import TableAudit

CLEAN = {
    "missing": 0, "doubled": 0, "unverifiable": 0, "duplicate_checkpoints": [], "added_records_mismatch": None,
    "behind": [], "collector_behind": None, "watermark_regressions": [], "doubled_windows": 0, "ok": True,
}  # fmt: skip


def differences(found: TableAudit) -> dict[str, object]:
    """What is not as in a clean table."""
    seen = found.model_dump(mode="json")
    return {name: seen[name] for name, expected in CLEAN.items() if seen[name] != expected and name != "ok"}


def offsets(found: TableAudit, kind: str) -> str:
    return str(getattr(found, f"{kind}_offsets"))


@pytest.fixture(params=["full", "incremental"])
def proven(request: pytest.FixtureRequest, bench: Bench) -> Bench:
    """Ten events, of which the incremental audit has proven the first six already."""
    bench.flink(*places(0, 0, 1, 2), *places(1, 0, 1, 2))
    bench.collect()
    if request.param == "incremental":
        assert bench.audit().ok
    bench.flink(*places(0, 3, 4), *places(1, 3, 4))
    bench.collect()
    return bench


def test_a_clean_table_is_proven(proven: Bench) -> None:
    found = proven.audit()
    assert differences(found) == {}
    assert found.ok
    assert (found.rows, found.dead_letters, found.control_records) == (10, 0, 0)
    assert found.next_offsets == {0: 5, 1: 5}
    assert found.checked_rows == (10 if found.full else 4)


def test_what_was_proven_is_not_read_again(proven: Bench) -> None:
    proven.audit()
    again = proven.audit()
    assert (again.ok, again.full, again.checked_rows, again.rows) == (True, False, 0, 10)
    everything = proven.audit(full=True)
    assert (everything.ok, everything.full, everything.checked_rows) == (True, True, 10)


def test_a_lost_row_is_missing(proven: Bench) -> None:
    proven.publish((0, 5), (1, 5))
    proven.flink((0, 6), (1, 6))
    proven.collect((1, 5))
    found = proven.audit()
    assert differences(found) == {"missing": 1}
    assert offsets(found, "missing") == "0:5"
    assert not found.ok
    # what failed once is not proven by looking again
    assert not proven.audit().ok


def test_a_lost_row_at_the_end_is_missing(proven: Bench) -> None:
    proven.publish((0, 5), (0, 6))
    proven.collect(ends={0: 7})
    assert differences(proven.audit()) == {"missing": 2}


def test_a_dead_letter_fills_its_hole(proven: Bench) -> None:
    proven.publish((0, 5))
    proven.flink((0, 6))
    proven.collect((0, 5))
    found = proven.audit()
    assert differences(found) == {}
    assert found.dead_letters == 1
    assert proven.audit().dead_letters == 1


def test_a_dead_letter_of_another_topic_fills_nothing(proven: Bench) -> None:
    proven.publish((0, 5))
    proven.flink((0, 6))
    proven.collect((0, 5), topic="sensors.traffic")
    assert differences(proven.audit()) == {"missing": 1}


def test_a_dead_letter_that_nothing_is_wrong_with_is_a_lost_event(proven: Bench) -> None:
    proven.publish((0, 5))
    proven.flink((0, 6))
    proven.collect((0, 5), error_class="unclassified")
    found = proven.audit()
    assert differences(found) == {"missing": 1}
    assert offsets(found, "missing") == "0:5"


def test_a_control_record_is_no_loss(proven: Bench) -> None:
    proven.flink((0, 6), (0, 9))
    proven.collect(ends={0: 11})
    found = proven.audit()
    assert differences(found) == {}
    assert found.control_records == 4
    assert proven.audit(full=True).control_records == 4
    assert proven.audit().control_records == 4


def test_a_hole_that_retention_took_is_unverifiable(proven: Bench) -> None:
    proven.publish((0, 5))
    proven.flink((0, 7))
    proven.collect()
    proven.broker.kept = {0: 6}
    found = proven.audit()
    assert differences(found) == {"unverifiable": 1}
    assert (offsets(found, "unverifiable"), found.control_records) == ("0:5", 1)


def test_a_doubled_row(proven: Bench) -> None:
    proven.flink((0, 5), (1, 2), (0, 5), (0, 4))
    proven.collect()
    found = proven.audit()
    assert differences(found) == {"doubled": 3}
    assert offsets(found, "doubled") == "0:4-5, 1:2"


def test_a_row_that_is_also_a_dead_letter(proven: Bench) -> None:
    proven.collect((0, 1), (1, 4))
    found = proven.audit()
    assert differences(found) == {"doubled": 2}
    assert offsets(found, "doubled") == "0:1, 1:4"


def test_a_file_that_was_committed_twice(proven: Bench) -> None:
    proven.commit_files(proven.newest_files(), checkpoint=proven.checkpoint)
    proven.collect()
    found = proven.audit()
    assert {"doubled", "duplicate_checkpoints"} == set(differences(found))
    assert offsets(found, "doubled") == "0:3-4, 1:3-4"
    [claim] = found.duplicate_checkpoints
    assert claim.snapshot_ids == [str(snapshot.snapshot_id) for snapshot in proven.table().snapshots()[-2:]]


def test_a_checkpoint_that_was_committed_twice(proven: Bench) -> None:
    proven.flink((0, 5), checkpoint=proven.checkpoint)
    proven.collect()
    found = proven.audit()
    assert set(differences(found)) == {"duplicate_checkpoints"}
    assert f"checkpoint {proven.checkpoint} of job job" in found.violations()[0]


def test_summaries_that_do_not_add_up(proven: Bench) -> None:
    proven.edit_summary(**{"added-records": "5"})
    assert differences(proven.audit()) == {"added_records_mismatch": {"by_summaries": 11, "live": 10}}


def test_compaction_changes_nothing(proven: Bench) -> None:
    proven.rewrite()
    proven.flink((0, 5))
    proven.collect()
    found = proven.audit()
    assert differences(found) == {}
    assert found.rows == 11
    assert proven.audit(full=True).ok


def test_compaction_that_loses_a_row(proven: Bench) -> None:
    proven.rewrite(drop=1)
    proven.collect()
    found = proven.audit()
    # the old rows are not read again, but they are counted
    assert differences(found) == (
        {"added_records_mismatch": {"by_summaries": 10, "live": 9}} | ({"missing": 1} if found.full else {})
    )


def test_expired_snapshots_change_nothing(proven: Bench) -> None:
    proven.flink((0, 5))
    proven.expire(keep=1)
    proven.collect()
    found = proven.audit()
    assert differences(found) == {}
    assert (found.rows, found.full) == (11, True)


def test_a_table_behind_the_committed_offsets(proven: Bench) -> None:
    proven.publish((1, 5), (1, 6))
    found = proven.audit()
    assert differences(found) == {"behind": [{"partition": 1, "position": 5, "committed": 7}]}


def test_a_committed_offset_behind_control_records_is_no_lag(proven: Bench) -> None:
    proven.broker.committed[1] = 9
    assert differences(proven.audit()) == {}


def test_rows_that_the_collector_has_not_seen_are_not_proven(proven: Bench) -> None:
    proven.flink((0, 6))
    found = proven.audit()
    assert set(differences(found)) == {"collector_behind", "behind"}
    assert found.rows == 10
    proven.publish((0, 5))
    proven.collect((0, 5))
    assert proven.audit().ok


def test_it_waits_for_the_collector_and_says_how_long(proven: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "POLL_S", 0.2)
    proven.flink((0, 6))
    proven.publish((0, 5))
    looks: list[str] = []

    def collect_at_the_second_look(stage: str, _done: int, _total: int, /) -> None:
        if "waiting" in stage:
            looks.append(stage)
            if len(looks) == 2:
                proven.collect((0, 5))

    found = audit_table(proven.sources, FAMILY, full=False, wait_s=60, progress=collect_at_the_second_look)
    assert (found.ok, len(looks)) == (True, 2)
    assert 0.2 <= found.waited_seconds <= found.seconds


def test_windows_that_go_back_in_time(proven: Bench) -> None:
    proven.windows(1, 2)
    proven.windows(2, 3, sensor="another")
    assert differences(proven.audit()) == {}
    proven.windows(2, 4, sensor="third")
    found = proven.audit()
    [regression] = found.watermark_regressions
    assert (regression.window_end.minute, regression.greatest_before.minute) == (2, 3)
    assert set(differences(found)) == {"watermark_regressions"}


def test_a_window_that_stands_twice(proven: Bench) -> None:
    proven.windows(1, 2)
    proven.windows(2, 3)
    assert differences(proven.audit()) == {"doubled_windows": 1}


def test_an_empty_platform_is_proven(bench: Bench) -> None:
    found = bench.audit()
    assert differences(found) == {}
    assert (found.rows, found.snapshot_id) == (0, None)


def test_nothing_but_dead_letters(bench: Bench) -> None:
    bench.publish((0, 0), (0, 1))
    assert differences(bench.audit()) == {"behind": [{"partition": 0, "position": 0, "committed": 2}]}
    bench.collect((0, 0), (0, 1))
    found = bench.audit()
    assert differences(found) == {}
    assert found.dead_letters == 2


def test_the_first_record_is_that_of_the_topic(bench: Bench) -> None:
    bench.publish((0, 0))
    bench.flink((0, 1))
    bench.collect()
    assert differences(bench.audit()) == {"missing": 1}
    bench.broker.kept = {0: 1}
    found = bench.audit()
    assert differences(found) == {}
    assert found.first_offsets == {0: 1}
