"""The decision over random histories; the oracle walks them as a recursive query in SQLite."""

import sqlite3
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from commit_guard.ancestries import Ancestries
from commit_guard.decision import FlinkCheckpoint, FlinkSnapshot, Forward, Refused, Repeated, decide

SNAPSHOTS = st.integers(1, 12)
JOBS = st.sampled_from(["a", "b"])
OPERATORS = st.sampled_from(["x", "y", None])
CHECKPOINTS = st.sampled_from([0, 2, 9, 10, 11, 100, 2**63 - 1])
BRANCHES = st.sampled_from(["main", "audit"])


@st.composite
def metadata(draw: st.DrawFn) -> dict[str, Any]:
    """Histories with forks, expired parents, other writers and summaries that are no checkpoint."""
    snapshots = []
    for snapshot_id in draw(st.lists(SNAPSHOTS, unique=True)):
        summary = {"operation": "append"}
        if draw(st.booleans()):
            summary["flink.job-id"] = draw(JOBS)
            summary["flink.max-committed-checkpoint-id"] = draw(CHECKPOINTS.map(str) | st.just("none"))
            if (operator := draw(OPERATORS)) is not None:
                summary["flink.operator-id"] = operator
        snapshot: dict[str, Any] = {"snapshot-id": snapshot_id, "summary": summary}
        if (parent := draw(st.none() | st.integers(0, snapshot_id - 1))) is not None:
            snapshot["parent-snapshot-id"] = parent
        snapshots.append(snapshot)
    refs = draw(st.dictionaries(BRANCHES, SNAPSHOTS.map(lambda head: {"snapshot-id": head, "type": "branch"})))
    return {"snapshots": snapshots, "refs": refs}


@st.composite
def incoming(draw: st.DrawFn) -> FlinkSnapshot:
    operator = draw(st.sampled_from(["x", "y"]))
    return FlinkSnapshot(
        draw(SNAPSHOTS), None, draw(BRANCHES), FlinkCheckpoint(draw(JOBS), operator, draw(CHECKPOINTS))
    )


def holders(table: dict[str, Any], head: int | None, new: FlinkSnapshot) -> tuple[bool, set[int]]:
    """Whether the snapshot is behind ``head``, and the snapshots there that hold its checkpoint."""
    with sqlite3.connect(":memory:") as database:
        database.execute("CREATE TABLE s (id INTEGER, parent INTEGER, job, operator, checkpoint_id)")
        for snapshot in table["snapshots"]:
            keys = ("flink.job-id", "flink.operator-id", "flink.max-committed-checkpoint-id")
            values = [snapshot["summary"].get(key) for key in keys]
            database.execute(
                "INSERT INTO s VALUES (?, ?, ?, ?, ?)",
                (snapshot["snapshot-id"], snapshot.get("parent-snapshot-id"), *values),
            )
        rows = database.execute(
            """
            WITH RECURSIVE behind AS (
                SELECT * FROM s WHERE id = :head
                UNION SELECT s.* FROM s JOIN behind ON s.id = behind.parent
            )
            SELECT id, job = :job AND coalesce(operator, :operator) = :operator
                AND checkpoint_id != 'none' AND CAST(checkpoint_id AS INTEGER) >= :checkpoint_id
            FROM behind
            """,
            {
                "head": head,
                "job": new.checkpoint.job_id,
                "operator": new.checkpoint.operator_id,
                "checkpoint_id": new.checkpoint.checkpoint_id,
            },
        ).fetchall()
    return new.snapshot_id in {row[0] for row in rows}, {row[0] for row in rows if row[1]}


def head_of_branch(table: dict[str, Any], branch: str) -> int | None:
    return table["refs"].get(branch, {}).get("snapshot-id")


@given(metadata(), incoming())
def test_decision(table: dict[str, Any], new: FlinkSnapshot) -> None:
    is_there, holding = holders(table, head_of_branch(table, new.branch), new)
    match decide(table, new):
        case Repeated():
            assert is_there
        case Refused(holder, checkpoint_id):
            assert not is_there
            assert holder in holding
            assert checkpoint_id >= new.checkpoint.checkpoint_id
        case Forward(at):
            assert not is_there
            assert holding == set()
            assert at == head_of_branch(table, new.branch)


@given(metadata(), st.lists(incoming(), max_size=4), incoming())
def test_what_is_remembered_of_a_snapshot_is_what_lies_behind_it(
    table: dict[str, Any], appended: list[FlinkSnapshot], new: FlinkSnapshot
) -> None:
    ancestries = Ancestries()
    at = head_of_branch(table, "main")
    ancestries.learn(at, table)
    for number, member in enumerate(appended):
        landed = FlinkSnapshot(1000 + number, at, "main", member.checkpoint)
        ancestries.extend(landed)
        written = {
            "flink.job-id": member.checkpoint.job_id,
            "flink.operator-id": member.checkpoint.operator_id,
            "flink.max-committed-checkpoint-id": str(member.checkpoint.checkpoint_id),
        }
        table["snapshots"].append({"snapshot-id": 1000 + number, "parent-snapshot-id": at, "summary": written})
        at = landed.snapshot_id
    assert ancestries.lacks(at, new.checkpoint) == (holders(table, at, new)[1] == set())


def test_of_an_unknown_snapshot_nothing_is_known() -> None:
    checkpoint = FlinkCheckpoint("a", "x", 1)
    ancestries = Ancestries()
    assert not ancestries.lacks(7, checkpoint)
    ancestries.extend(FlinkSnapshot(8, 7, "main", checkpoint))
    assert not ancestries.lacks(8, FlinkCheckpoint("b", "x", 1))
    assert ancestries.lacks(None, checkpoint)


def test_the_oldest_is_forgotten_first() -> None:
    ancestries = Ancestries(capacity=2)
    for head_id in (1, 2, 3):
        ancestries.learn(head_id, {"snapshots": []})
    assert [ancestries.lacks(head_id, FlinkCheckpoint("a", "x", 1)) for head_id in (1, 2, 3)] == [
        False,
        True,
        True,
    ]


def test_metadata_from_before_branches_has_its_main_branch_in_the_current_snapshot() -> None:
    new = FlinkSnapshot(9, None, "main", FlinkCheckpoint("a", "x", 1))
    assert decide({"current-snapshot-id": 5, "snapshots": []}, new) == Forward(5)
    assert decide({"current-snapshot-id": -1}, new) == Forward(None)


def test_a_snapshot_without_operator_is_any_operators() -> None:
    with_operator, without = FlinkCheckpoint("a", "x", 1), FlinkCheckpoint("a", None, 1)
    assert without.holds(with_operator)
    assert not with_operator.holds(without)
