"""What becomes of a commit of Flink, judged by what is in the catalog afterwards."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from memory_catalog import (
    OTHER_TABLE,
    TABLE,
    TRANSACTION,
    Held,
    Json,
    MemoryCatalog,
    always,
    assertion,
    change,
    get,
    once,
    post,
    snapshot,
)
from starlette.applications import Starlette


def commit(guard: Starlette, *snapshots: Json, requirements: list[Json], branch: str = "main") -> httpx.Response:
    return asyncio.run(post(guard, TABLE, change(*snapshots, requirements=requirements, branch=branch)))


@pytest.fixture
def tenth(guard: Starlette, catalog: MemoryCatalog) -> Json:
    """Checkpoint 10 of job-a in an otherwise empty table."""
    written = snapshot(10, parent=None)
    assert commit(guard, written, requirements=[assertion(None)]).status_code == 200
    assert catalog.head() == written["snapshot-id"]
    return written


def snapshot_ids(catalog: MemoryCatalog) -> list[int]:
    return [member["snapshot-id"] for member in catalog.table["snapshots"]]


def outcomes(guard: Starlette) -> dict[str, float]:
    """Counts of all outcomes, out of the text that Prometheus reads."""
    lines = asyncio.run(get(guard, "/-/metrics")).text.splitlines()
    prefix = "lakehouse_commit_guard_commits_total{"
    return {
        line.split('outcome="')[1].split('"')[0]: float(line.split()[-1])
        for line in lines
        if line.startswith(prefix) and 'table="bronze.city.events"' in line
    }


def test_a_new_checkpoint_is_forwarded_in_the_clients_own_bytes(
    guard: Starlette, catalog: MemoryCatalog, tenth: Json
) -> None:
    eleventh = snapshot(11, parent=tenth["snapshot-id"])
    # spelled as no encoder of the guard would
    body = json.dumps(change(eleventh, requirements=[assertion(tenth["snapshot-id"])]), indent=3).encode()
    assert asyncio.run(post(guard, TABLE, body)).status_code == 200
    assert catalog.commits[-1].content == body
    assert catalog.head() == eleventh["snapshot-id"]
    assert outcomes(guard) == {"forwarded": 2}


def test_a_commit_is_tied_to_the_head_that_was_inspected(
    guard: Starlette, catalog: MemoryCatalog, tenth: Json
) -> None:
    uuid = {"type": "assert-table-uuid", "uuid": "uuid-of-events"}
    eleventh = snapshot(11, parent=tenth["snapshot-id"])
    assert commit(guard, eleventh, requirements=[uuid]).status_code == 200
    forwarded = json.loads(catalog.commits[-1].content)
    assert forwarded == change(eleventh, requirements=[uuid, assertion(tenth["snapshot-id"])])
    assert int(catalog.commits[-1].headers["Content-Length"]) == len(catalog.commits[-1].content)


def test_a_commit_to_a_new_branch_is_tied_to_there_being_none(
    guard: Starlette, catalog: MemoryCatalog, tenth: Json
) -> None:
    assert commit(guard, snapshot(10, parent=None), requirements=[], branch="audit").status_code == 200
    assert json.loads(catalog.commits[-1].content)["requirements"] == [assertion(None, "audit")]


def test_a_commit_tied_to_another_head_is_for_the_catalog_to_refuse(
    guard: Starlette, catalog: MemoryCatalog, tenth: Json
) -> None:
    stale = change(snapshot(11, parent=7), requirements=[assertion(7)])
    answer = asyncio.run(post(guard, TABLE, stale))
    assert answer.status_code == 409
    assert json.loads(catalog.commits[-1].content) == stale
    assert snapshot_ids(catalog) == [tenth["snapshot-id"]]


def test_the_same_snapshot_again_is_answered_with_the_table(
    guard: Starlette, catalog: MemoryCatalog, tenth: Json
) -> None:
    later = snapshot(11, parent=tenth["snapshot-id"])
    commit(guard, later, requirements=[assertion(tenth["snapshot-id"])])
    sent = len(catalog.commits)
    for requirements in ([assertion(None)], [assertion(tenth["snapshot-id"])], []):
        answer = commit(guard, tenth, requirements=requirements)
        assert answer.status_code == 200
        assert answer.json() == {"metadata-location": "s3://here", "metadata": catalog.table}
    assert snapshot_ids(catalog) == [tenth["snapshot-id"], later["snapshot-id"]]
    assert len(catalog.commits) == sent + 1  # tied to a head that this guard knew, so the catalog was asked first
    assert outcomes(guard) == {"forwarded": 2, "repeated": 3}


@pytest.mark.parametrize("checkpoint", [10, 9, 2, 0])
def test_a_checkpoint_that_the_table_holds_is_refused(
    guard: Starlette, catalog: MemoryCatalog, tenth: Json, checkpoint: int
) -> None:
    sent = len(catalog.commits)
    for requirements in ([], [assertion(tenth["snapshot-id"])]):
        answer = commit(guard, snapshot(checkpoint, parent=tenth["snapshot-id"]), requirements=requirements)
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert (error["type"], error["code"]) == ("BadRequestException", 400)
        assert str(tenth["snapshot-id"]) in error["message"]
        assert "bronze.city.events" in error["message"]
    assert len(catalog.commits) == sent
    assert snapshot_ids(catalog) == [tenth["snapshot-id"]]
    assert outcomes(guard) == {"forwarded": 1, "refused": 2}


def test_a_checkpoint_is_found_behind_snapshots_of_others(
    guard: Starlette, catalog: MemoryCatalog, tenth: Json
) -> None:
    compaction = {
        "snapshot-id": 5,
        "parent-snapshot-id": tenth["snapshot-id"],
        "summary": {"operation": "replace"},
    }
    other = snapshot(900, parent=5, job="job-b")
    commit(guard, compaction, requirements=[])
    commit(guard, other, requirements=[])
    answer = commit(guard, snapshot(10, parent=other["snapshot-id"]), requirements=[])
    assert answer.status_code == 400
    assert commit(guard, snapshot(11, parent=other["snapshot-id"]), requirements=[]).status_code == 200


@pytest.mark.parametrize("whose", [{"job": "job-b"}, {"operator": "operator-2"}])
def test_the_same_checkpoint_of_another_job_or_operator_is_forwarded(
    guard: Starlette, catalog: MemoryCatalog, tenth: Json, whose: dict[str, str]
) -> None:
    for requirements in ([], [assertion(tenth["snapshot-id"])]):
        catalog.table["refs"]["main"]["snapshot-id"] = tenth["snapshot-id"]
        written = snapshot(10, parent=tenth["snapshot-id"], **whose)
        assert commit(guard, written, requirements=requirements).status_code == 200
        assert catalog.head() == written["snapshot-id"]


def test_what_has_left_the_branch_does_not_count(guard: Starlette, catalog: MemoryCatalog, tenth: Json) -> None:
    eleventh = snapshot(11, parent=tenth["snapshot-id"])
    commit(guard, eleventh, requirements=[])
    catalog.table["refs"]["main"]["snapshot-id"] = tenth["snapshot-id"]  # rolled back
    again = snapshot(11, parent=tenth["snapshot-id"])
    assert commit(guard, again, requirements=[assertion(tenth["snapshot-id"])]).status_code == 200
    assert catalog.head() == again["snapshot-id"]


def test_each_snapshot_of_a_commit_is_judged(guard: Starlette, catalog: MemoryCatalog, tenth: Json) -> None:
    twelfth = snapshot(12, parent=tenth["snapshot-id"])
    doubled = snapshot(10, parent=twelfth["snapshot-id"])
    assert commit(guard, twelfth, doubled, requirements=[]).status_code == 400
    assert snapshot_ids(catalog) == [tenth["snapshot-id"]]
    thirteenth = snapshot(13, parent=twelfth["snapshot-id"])
    pair = [twelfth, thirteenth]
    assert commit(guard, *pair, requirements=[]).status_code == 200
    assert commit(guard, *pair, requirements=[]).status_code == 200  # repeated as a whole
    assert commit(guard, snapshot(13, parent=1), requirements=[]).status_code == 400
    assert snapshot_ids(catalog) == [member["snapshot-id"] for member in (tenth, twelfth, thirteenth)]


def test_each_table_of_a_transaction_is_judged(guard: Starlette, catalog: MemoryCatalog, tenth: Json) -> None:
    fresh = change(snapshot(1, parent=None), requirements=[], name="others")
    doubled = change(snapshot(10, parent=tenth["snapshot-id"]), requirements=[])
    refused = asyncio.run(post(guard, TRANSACTION, {"table-changes": [fresh, doubled]}))
    assert refused.status_code == 400
    assert catalog.tables["bronze", "city", "others"]["snapshots"] == []

    new = change(snapshot(11, parent=tenth["snapshot-id"]), requirements=[])
    for _ in ("first", "repeated"):
        assert asyncio.run(post(guard, TRANSACTION, {"table-changes": [fresh, new]})).status_code == 204
    assert len(snapshot_ids(catalog)) == 2
    assert len(catalog.tables["bronze", "city", "others"]["snapshots"]) == 1
    (forwarded,) = (
        json.loads(request.content) for request in catalog.commits if b"table-changes" in request.content
    )
    assert [member["requirements"] for member in forwarded["table-changes"]] == [
        [assertion(None)],
        [assertion(tenth["snapshot-id"])],
    ]
    half = change(snapshot(12, parent=None), requirements=[])
    answer = asyncio.run(post(guard, TRANSACTION, {"table-changes": [fresh, half]}))
    assert answer.status_code == 400  # no catalog lands half of a transaction: not to be guessed at


def test_a_transaction_is_judged_by_the_tables_that_flink_writes(
    guard: Starlette, catalog: MemoryCatalog, tenth: Json
) -> None:
    other = change({"snapshot-id": 5, "summary": {}}, requirements=[], name="others")
    new = change(snapshot(11, parent=tenth["snapshot-id"]), requirements=[])
    assert asyncio.run(post(guard, TRANSACTION, {"table-changes": [other, new]})).status_code == 204
    assert [request.url.raw_path for request in catalog.loads] == [f"{TABLE}?snapshots=all".encode()]


def test_the_table_is_loaded_with_the_clients_own_credentials(guard: Starlette, catalog: MemoryCatalog) -> None:
    assert commit(guard, snapshot(1, parent=None), requirements=[]).status_code == 200
    (load,) = catalog.loads
    assert load.url.raw_path == f"{TABLE}?snapshots=all".encode()
    assert load.headers["Authorization"] == "Bearer token"


def test_a_stream_of_commits_loads_the_table_once(guard: Starlette, catalog: MemoryCatalog, tenth: Json) -> None:
    loads = len(catalog.loads)
    head = tenth["snapshot-id"]
    for checkpoint in range(11, 31):
        written = snapshot(checkpoint, parent=head)
        assert commit(guard, written, requirements=[assertion(head)]).status_code == 200
        head = written["snapshot-id"]
    assert len(catalog.loads) == loads
    # what it has not loaded it still knows: the first of them again, under another id
    assert commit(guard, snapshot(11, parent=head), requirements=[assertion(head)]).status_code == 400


def test_what_the_catalog_did_not_take_is_not_remembered(
    new_guard: Callable[[], Starlette], catalog: MemoryCatalog, tenth: Json
) -> None:
    first, second = new_guard(), new_guard()
    other: dict[str, Any] = {"job": "job-b", "snapshot_id": 77}
    assert commit(first, snapshot(1, parent=None, **other), requirements=[assertion(None)]).status_code == 409
    # the retry has the same identifier and another parent, and another guard on its way
    moved, at = snapshot(1, parent=tenth["snapshot-id"], **other), assertion(tenth["snapshot-id"])
    assert commit(second, moved, requirements=[at]).status_code == 200
    assert commit(first, snapshot(10, parent=77), requirements=[assertion(77)]).status_code == 400
    assert snapshot_ids(catalog) == [tenth["snapshot-id"], 77]


def test_other_writers_are_not_looked_at(guard: Starlette, catalog: MemoryCatalog) -> None:
    append = {"snapshot-id": 5, "summary": {"operation": "append"}}
    assert commit(guard, append, requirements=[]).status_code == 200
    assert commit(guard, append, requirements=[]).status_code == 409  # the catalog's own answer
    assert catalog.loads == []
    assert outcomes(guard) == {}


@pytest.mark.parametrize(
    "body", [b"flink.job-id", b'["flink."]', b'{"updates": "flink."}', b'{"updates": [{"action": "flink."}, 1]}']
)
def test_what_is_no_commit_is_for_the_catalog(guard: Starlette, catalog: MemoryCatalog, body: bytes) -> None:
    seen: list[bytes] = []

    async def refuse(request: httpx.Request) -> None:
        seen.append(request.content)
        raise httpx.ConnectError("seen")

    catalog.before = refuse
    assert asyncio.run(post(guard, TABLE, body)).status_code == 503
    assert seen == [body]


def test_a_table_in_creation_is_for_the_catalog(guard: Starlette, catalog: MemoryCatalog) -> None:
    catalog.tables["bronze", "city", "new"] = {"refs": {}, "snapshots": []}
    loaded = catalog.tables["bronze", "city", "new"]

    async def hide_from_loads(request: httpx.Request) -> None:
        if request.method == "GET":
            del catalog.tables["bronze", "city", "new"]
        else:
            catalog.tables["bronze", "city", "new"] = loaded

    catalog.before = hide_from_loads
    body = change(snapshot(1, parent=None), requirements=[], name="new")
    assert asyncio.run(post(guard, TABLE.replace("events", "new"), body)).status_code == 200
    assert json.loads(catalog.commits[-1].content) == body


# what can fail


def test_a_catalog_that_is_away_gets_nothing(guard: Starlette, catalog: MemoryCatalog) -> None:
    catalog.before = always(httpx.ConnectError("refused"), "GET")
    answer = commit(guard, snapshot(1, parent=None), requirements=[])
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json()["error"]["type"] == "ServiceUnavailableException"
    assert catalog.commits == []
    assert len(catalog.loads) == 2  # a load is tried once more
    assert outcomes(guard) == {"failed": 1}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (httpx.ConnectError("refused"), 503),
        (httpx.ReadError("reset"), 502),
        (httpx.RemoteProtocolError("closed"), 502),
        (httpx.ReadTimeout("slow"), 504),
    ],
)
def test_a_commit_is_never_sent_twice(
    guard: Starlette, catalog: MemoryCatalog, error: Exception, status: int
) -> None:
    catalog.before = always(error, "POST")
    answer = commit(guard, snapshot(1, parent=None), requirements=[])
    assert answer.status_code == status
    assert ("Retry-After" in answer.headers) == (status == 503)
    assert len(catalog.commits) == 1
    assert outcomes(guard) == {"failed": 1}
    metrics = asyncio.run(get(guard, "/-/metrics")).text
    assert f'lakehouse_commit_guard_upstream_failures_total{{status="{status}"}} 1.0' in metrics


def test_a_failure_of_the_catalog_comes_back_as_it_is(guard: Starlette, catalog: MemoryCatalog) -> None:
    catalog.commit_answer = httpx.Response(500, content=b"the catalog's words")
    answer = commit(guard, snapshot(1, parent=None), requirements=[assertion(None)])
    assert (answer.status_code, answer.content) == (500, b"the catalog's words")
    assert outcomes(guard) == {"failed": 1}
    catalog.commit_answer = None
    # that it was not taken is not remembered as if it were
    assert commit(guard, snapshot(1, parent=None), requirements=[assertion(None)]).status_code == 200


def test_a_load_over_a_broken_connection_is_tried_again(guard: Starlette, catalog: MemoryCatalog) -> None:
    catalog.before = once(httpx.RemoteProtocolError("closed while idle"), "GET")
    assert commit(guard, snapshot(1, parent=None), requirements=[]).status_code == 200


def test_a_commit_whose_answer_was_lost_is_answered_when_it_is_repeated(
    guard: Starlette, catalog: MemoryCatalog
) -> None:
    catalog.after = once(httpx.ReadError("reset"), "POST")
    written = snapshot(1, parent=None)
    assert commit(guard, written, requirements=[assertion(None)]).status_code == 502
    assert snapshot_ids(catalog) == [written["snapshot-id"]]
    repeated = commit(guard, written, requirements=[assertion(None)])
    assert repeated.status_code == 200
    assert repeated.json()["metadata"] == catalog.table
    assert snapshot_ids(catalog) == [written["snapshot-id"]]


@pytest.mark.parametrize("status", [401, 403, 429])
def test_what_the_client_may_not_load_is_refused_in_the_catalogs_words(
    guard: Starlette, catalog: MemoryCatalog, status: int
) -> None:
    catalog.load_answer = httpx.Response(status, content=b"the catalog's words", headers={"X-Of": "the catalog"})
    answer = commit(guard, snapshot(1, parent=None), requirements=[])
    assert (answer.status_code, answer.content, answer.headers["X-Of"]) == (
        status,
        b"the catalog's words",
        "the catalog",
    )
    assert catalog.commits == []


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b'{"metadata": null}'])
@pytest.mark.parametrize("status", [200, 500, 503])
def test_a_load_that_tells_nothing_forwards_nothing(
    guard: Starlette, catalog: MemoryCatalog, status: int, content: bytes
) -> None:
    catalog.load_answer = httpx.Response(status, content=content)
    assert commit(guard, snapshot(1, parent=None), requirements=[]).status_code == 503
    assert catalog.commits == []


def test_a_repeat_that_overtakes_a_held_commit_is_answered_with_the_table(
    new_guard: Callable[[], Starlette], catalog: MemoryCatalog
) -> None:
    async def scenario() -> tuple[httpx.Response, httpx.Response]:
        held = Held()
        catalog.before = held
        written = change(snapshot(1, parent=None), requirements=[assertion(None)])
        first = asyncio.create_task(post(new_guard(), TABLE, written))
        await held.reached.wait()

        async def first_lands(request: httpx.Request) -> None:
            if request.method == "POST":
                held.released.set()
                await first

        catalog.before = first_lands  # between the look of the second and its commit
        second = await post(new_guard(), TABLE, written)
        return await first, second

    first, second = asyncio.run(scenario())
    assert (first.status_code, second.status_code) == (200, 200)
    assert len(snapshot_ids(catalog)) == 1


def test_a_restarted_job_does_not_double_what_a_held_commit_brings(
    new_guard: Callable[[], Starlette], catalog: MemoryCatalog
) -> None:
    """The fault that doubles rows with the sink alone: apache/iceberg#14425."""

    async def scenario() -> list[int]:
        held = Held()
        catalog.before = held
        before_restart = change(snapshot(1, parent=None), requirements=[assertion(None)])
        first = asyncio.create_task(post(new_guard(), TABLE, before_restart))
        await held.reached.wait()
        guard = new_guard()
        looked_at = catalog.head()  # the restarted job finds no checkpoint in the table
        held.released.set()
        await first
        statuses = []
        for _ in range(2):  # and refreshes after the conflict, as the sink does
            again = change(snapshot(1, parent=looked_at), requirements=[assertion(looked_at)])
            statuses.append((await post(guard, TABLE, again)).status_code)
            looked_at = catalog.head()
        return statuses

    assert asyncio.run(scenario()) == [400, 400]
    assert len(snapshot_ids(catalog)) == 1


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("same_snapshot", [True, False])
def test_guards_side_by_side_let_one_commit_land(
    new_guard: Callable[[], Starlette], catalog: MemoryCatalog, *, tied: bool, same_snapshot: bool
) -> None:
    async def scenario() -> list[int]:
        arrived = 0
        all_have_looked = asyncio.Event()

        async def wait_for_all(request: httpx.Request) -> None:
            nonlocal arrived
            if request.method == "POST":
                arrived += 1
                if arrived == 5:
                    all_have_looked.set()
                await all_have_looked.wait()

        catalog.before = wait_for_all
        requirements = [assertion(None)] if tied else []
        shared = snapshot(1, parent=None)
        commits = [shared if same_snapshot else snapshot(1, parent=None) for _ in range(5)]
        answers = await asyncio.gather(
            *(post(new_guard(), TABLE, change(member, requirements=requirements)) for member in commits)
        )
        return sorted(answer.status_code for answer in answers)

    assert asyncio.run(scenario()) == ([200] * 5 if same_snapshot else [200, 400, 400, 400, 400])
    assert len(snapshot_ids(catalog)) == 1


def test_a_commit_goes_on_when_its_client_has_gone(guard: Starlette, catalog: MemoryCatalog) -> None:
    async def scenario() -> None:
        held = Held()
        catalog.before = held
        client = asyncio.create_task(post(guard, TABLE, change(snapshot(1, parent=None), requirements=[])))
        await held.reached.wait()
        client.cancel()
        await asyncio.wait([client])

        async def stop() -> None:
            async with guard.router.lifespan_context(guard):
                pass

        stopping = asyncio.create_task(stop())
        for _ in range(20):  # rounds of the event loop, in which nothing is left to do but to wait
            await asyncio.sleep(0)
        assert not stopping.done()
        assert snapshot_ids(catalog) == []
        held.released.set()
        await stopping
        assert len(snapshot_ids(catalog)) == 1

    asyncio.run(scenario())
    assert len(snapshot_ids(catalog)) == 1
    assert outcomes(guard) == {"forwarded": 1}


def test_ready_while_the_catalog_answers(guard: Starlette, catalog: MemoryCatalog) -> None:
    assert asyncio.run(get(guard, "/-/ready")).json() == {"status": "ready"}
    catalog.before = always(httpx.ConnectError("refused"), "GET")
    assert asyncio.run(get(guard, "/-/ready")).status_code == 503
    assert asyncio.run(get(guard, "/-/live")).status_code == 200


def test_added_time_is_measured_for_every_commit_of_flink(guard: Starlette, tenth: Json) -> None:
    commit(guard, tenth, requirements=[])
    assert asyncio.run(post(guard, OTHER_TABLE, change(snapshot(1, parent=None), requirements=[]))).is_success
    metrics = asyncio.run(get(guard, "/-/metrics")).text
    assert "lakehouse_commit_guard_added_seconds_count 3.0" in metrics
