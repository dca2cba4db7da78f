"""Which snapshots of a commit are judged, and against which branch."""

import json
from typing import Any

import pytest
from memory_catalog import TABLE, Json, snapshot

from commit_guard.commits import parse_commit

A = snapshot(1, parent=None, snapshot_id=1)
B = snapshot(2, parent=1, snapshot_id=2)


def reference(branch: str, snapshot_id: int, kind: str = "branch") -> Json:
    return {"action": "set-snapshot-ref", "ref-name": branch, "type": kind, "snapshot-id": snapshot_id}


def added(member: Json) -> Json:
    return {"action": "add-snapshot", "snapshot": member}


@pytest.mark.parametrize(
    ("updates", "judged"),
    [
        ([added(A), reference("main", 1)], [(1, "main")]),
        ([added(A), reference("audit", 1)], [(1, "audit")]),
        ([added(A), reference("audit", 1), reference("main", 1)], [(1, "audit"), (1, "main")]),
        ([added(A), reference("audit", 1), reference("main", 9)], [(1, "audit")]),
        ([added(A), added(B), reference("audit", 2)], [(1, "audit"), (2, "audit")]),
        ([added(A), reference("v1", 1, "tag")], [(1, "main")]),
        ([added(A)], [(1, "main")]),
        ([added(A), {"action": "set-properties", "updates": {}}, reference("main", 1)], [(1, "main")]),
    ],
)
def test_snapshots_and_their_branches(updates: list[Json], judged: list[tuple[int, str]]) -> None:
    commit = parse_commit(TABLE.encode(), json.dumps({"updates": updates}).encode())
    assert commit is not None
    (change,) = commit.changes
    assert change.table == "bronze.city.events"
    assert [(member.snapshot_id, member.branch) for member in change.snapshots] == judged


@pytest.mark.parametrize(
    "path",
    [
        "/v1/namespaces/a/tables/t/metrics",
        "/v1/namespaces/a/tables",
        "/v1/namespaces/a/register",
        "/v2/namespaces/a/tables/t",
        "/v1/oauth/tokens",
    ],
)
def test_other_paths_are_no_commits(path: str) -> None:
    body = json.dumps({"updates": [added(A), reference("main", 1)]}).encode()
    assert parse_commit(path.encode(), body) is None


@pytest.mark.parametrize(
    "path", ["/v1/namespaces/a/tables/t", "/v1/p/namespaces/a/tables/t", "/v1/p/q/namespaces/a/tables/t"]
)
def test_with_and_without_prefix(path: str) -> None:
    commit = parse_commit(path.encode(), json.dumps({"updates": [added(A), reference("main", 1)]}).encode())
    assert commit is not None
    assert commit.changes[0].path == path.encode()


@pytest.mark.parametrize("checkpoint", ["none", "", None, [1]])
def test_a_checkpoint_that_is_no_number_is_not_flinks(checkpoint: Any) -> None:
    summary = {"flink.job-id": "a", "flink.operator-id": "x", "flink.max-committed-checkpoint-id": checkpoint}
    body = {"updates": [added({"snapshot-id": 1, "summary": summary}), reference("main", 1)]}
    assert parse_commit(TABLE.encode(), json.dumps(body).encode()) is None
