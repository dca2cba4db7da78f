"""Repairs of both kinds: what was doubled is there once afterwards, and the audit accounts for it."""

import random

import pytest
from audit_bench import FAMILY, Bench, places

from audit.repair import RepairReport, repair_table
from audit.sources import silent


def repaired(bench: Bench) -> RepairReport:
    """The repair, and the collector that follows it."""
    report = repair_table(bench.sources, FAMILY, wait_s=0, progress=silent)
    bench.collect()
    return report


@pytest.fixture
def stream(bench: Bench) -> Bench:
    bench.flink(*places(0, 0, 1, 2), *places(1, 0, 1, 2))
    bench.flink(*places(0, 3, 4), *places(1, 3, 4))
    bench.collect()
    assert bench.audit().ok
    return bench


def test_a_file_that_was_committed_twice(stream: Bench) -> None:
    once = stream.places()
    paths = sorted(file.file_path for file in stream.newest_files())
    stream.commit_files(stream.newest_files(), checkpoint=stream.checkpoint)
    again = stream.table().current_snapshot()
    stream.collect()
    assert not stream.audit().ok
    report = repaired(stream)
    assert again is not None
    assert (report.removed_rows, report.repaired_snapshots) == (4, [str(again.snapshot_id)])
    assert report.proof.ok
    assert report.proof.full
    assert stream.places() == once
    # nothing was written anew
    assert sorted(file.file_path for file in stream.newest_files()) == paths
    assert stream.audit().ok
    assert stream.audit(full=True).ok


def test_rows_that_were_doubled_in_another_file(stream: Bench) -> None:
    stream.flink((0, 5), (0, 5), (1, 2), (0, 4), (1, 5))
    stream.collect()
    expected = sorted(set(stream.places()))
    assert repaired(stream).removed_rows == 3
    assert stream.places() == expected
    assert stream.audit(full=True).ok


def test_a_file_of_doubled_rows_alone_is_left_out(stream: Bench) -> None:
    stream.flink(*places(0, 0, 1))
    stream.collect()
    report = repaired(stream)
    assert (report.removed_rows, report.proof.ok) == (2, True)
    assert stream.newest_files() == []


def test_a_file_that_is_listed_twice_and_has_doubled_rows(stream: Bench) -> None:
    stream.flink(*places(0, 4, 5, 6))
    stream.commit_files(stream.newest_files())
    stream.collect()
    expected = sorted(set(stream.places()))
    assert repaired(stream).removed_rows == 4
    assert stream.places() == expected
    assert stream.audit(full=True).ok


def test_a_sound_table_is_left_alone(stream: Bench) -> None:
    before = stream.table().metadata_location
    report = repaired(stream)
    assert (report.removed_rows, report.snapshot_id, report.proof.ok) == (0, None, True)
    assert stream.table().current_snapshot() is not None
    assert stream.table().metadata_location == before


def test_a_checkpoint_that_is_repeated_after_a_repair_is_found(stream: Bench) -> None:
    stream.commit_files(stream.newest_files(), checkpoint=stream.checkpoint)
    stream.collect()
    repaired(stream)
    assert stream.audit(full=True).ok
    stream.flink((0, 5), checkpoint=stream.checkpoint)
    stream.collect()
    assert len(stream.audit().duplicate_checkpoints) == 1


def test_an_empty_table_is_left_alone(bench: Bench) -> None:
    assert repaired(bench).snapshot_id is None


def test_a_repair_restores_nothing_that_is_missing(stream: Bench) -> None:
    stream.publish((0, 5))
    stream.flink((0, 6), (0, 6))
    stream.collect()
    report = repaired(stream)
    assert report.removed_rows == 1
    assert (report.proof.ok, report.proof.missing, report.proof.doubled) == (False, 1, 0)


def test_a_commit_that_comes_in_between_is_kept(stream: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    stream.flink((0, 4))
    stream.collect()
    expected = sorted({*stream.places(), (0, 5)})
    import audit.repair as module

    original, calls = module._rewritten, []

    def commit_in_between(*arguments: object) -> object:
        if not calls:
            stream.flink((0, 5))
        calls.append(1)
        return original(*arguments)

    monkeypatch.setattr(module, "_rewritten", commit_in_between)
    repaired(stream)
    assert stream.places() == expected
    assert stream.audit(full=True).ok


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_doubled_comes_back_to_once(bench: Bench, seed: int) -> None:
    rng = random.Random(seed)
    published = 0
    for _ in range(4):
        fresh = [published + number for number in range(rng.randrange(1, 5))]
        published += len(fresh)
        again = rng.sample(range(published), rng.randrange(published))
        bench.flink(*places(0, *rng.sample(fresh + again, len(fresh + again))))
        if rng.random() < 0.4:
            bench.commit_files(bench.newest_files(), checkpoint=bench.checkpoint)
    bench.collect()
    report = repaired(bench)
    assert report.proof.ok
    assert bench.places() == places(0, *range(published))
    assert bench.audit(full=True).ok
