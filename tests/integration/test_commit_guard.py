"""The running guard before the real catalog: PyIceberg through it, and commits of Flink built by hand."""

import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pyarrow as pa
import pytest
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.types import StringType

from resources.catalog import catalog_properties, open_catalog
from settings import Settings


@pytest.fixture(scope="module")
def guarded(settings: Settings) -> RestCatalog:
    """The catalog by way of the guard, also for tokens."""
    properties = catalog_properties(settings)
    properties["uri"] = settings.guard_url
    properties["oauth2-server-uri"] = f"{settings.guard_url}/v1/oauth/tokens"
    return RestCatalog("guarded", **properties)


@pytest.fixture
def namespace(guarded: RestCatalog) -> Iterator[str]:
    name = f"guard_{uuid.uuid4().hex[:12]}"
    guarded.create_namespace(name)
    yield name
    for identifier in guarded.list_tables(name):
        guarded.drop_table(identifier)
    guarded.drop_namespace(name)


@pytest.fixture
def client(settings: Settings) -> Iterator[httpx.Client]:
    """The REST API of the guard, with a token that was got through it."""
    credential = {
        "grant_type": "client_credentials",
        "client_id": settings.s3_access_key.get_secret_value(),
        "client_secret": settings.s3_secret_key.get_secret_value(),
        "scope": "catalog",
    }
    with httpx.Client(base_url=settings.guard_url, timeout=60) as client:
        token = client.post("/v1/oauth/tokens", data=credential).raise_for_status().json()
        client.headers["Authorization"] = f"Bearer {token['access_token']}"
        yield client


def rows(*numbers: int) -> pa.Table:
    return pa.table({"number": pa.array(numbers, pa.int64())})


def test_a_tables_life_through_the_guard(guarded: RestCatalog, settings: Settings, namespace: str) -> None:
    identifier = f"{namespace}.life"
    table = guarded.create_table(identifier, rows().schema)
    table.append(rows(1, 2))
    first = table.current_snapshot()
    assert first is not None
    table.append(rows(3))

    with table.update_schema() as update:
        update.add_column("note", StringType())
    assert schema_to_pyarrow(table.schema()).names == ["number", "note"]

    # read past the guard: it is the real catalog that has it
    direct = open_catalog(settings).load_table(identifier)
    assert sorted(direct.scan().to_arrow().column("number").to_pylist()) == [1, 2, 3]
    assert direct.scan(snapshot_id=first.snapshot_id).to_arrow().column("number").to_pylist() == [1, 2]

    guarded.drop_table(identifier)
    with pytest.raises(NoSuchTableError):
        guarded.load_table(identifier)


class FlinkWriter:
    """Commits as Iceberg's Flink sink does, of snapshots that reuse the manifests of a real append."""

    def __init__(self, client: httpx.Client, namespace: str, prefix: str, name: str) -> None:
        self.client = client
        self._namespace, self._name = namespace, name
        self.table = f"{namespace}.{name}"
        self.path = f"/v1/{prefix}/namespaces/{namespace}/tables/{name}"
        self.job_id = uuid.uuid4().hex

    def metadata(self) -> dict[str, Any]:
        loaded: dict[str, Any] = self.client.get(self.path).raise_for_status().json()["metadata"]
        return loaded

    def change(self, checkpoint: int) -> dict[str, Any]:
        metadata = self.metadata()
        current = next(
            member for member in metadata["snapshots"] if member["snapshot-id"] == metadata["current-snapshot-id"]
        )
        snapshot_id = uuid.uuid4().int >> 66
        summary = {
            **current["summary"],
            "flink.job-id": self.job_id,
            "flink.operator-id": "operator",
            "flink.max-committed-checkpoint-id": str(checkpoint),
        }
        snapshot = {
            **current,
            "snapshot-id": snapshot_id,
            "parent-snapshot-id": current["snapshot-id"],
            "sequence-number": metadata["last-sequence-number"] + 1,
            "timestamp-ms": max(time.time_ns() // 10**6, metadata["last-updated-ms"]),
            "summary": summary,
        }
        reference = {"ref-name": "main", "type": "branch", "snapshot-id": snapshot_id}
        return {
            "identifier": {"namespace": [self._namespace], "name": self._name},
            "requirements": [{"type": "assert-table-uuid", "uuid": metadata["table-uuid"]}],
            "updates": [
                {"action": "add-snapshot", "snapshot": snapshot},
                {"action": "set-snapshot-ref", **reference},
            ],
        }

    def send(self, change: dict[str, Any]) -> httpx.Response:
        return self.client.post(self.path, json=change)


@pytest.fixture
def writer(client: httpx.Client, guarded: RestCatalog, namespace: str) -> FlinkWriter:
    table = guarded.create_table(f"{namespace}.stream", rows().schema)
    table.append(rows(1))
    return FlinkWriter(client, namespace, guarded.properties["prefix"], "stream")


def test_a_checkpoint_lands_once(writer: FlinkWriter, settings: Settings) -> None:
    before = len(writer.metadata()["snapshots"])
    commit = writer.change(10)
    landed = writer.send(commit)
    assert landed.status_code == 200, landed.text

    repeated = writer.send(commit)
    assert repeated.status_code == 200, repeated.text
    assert repeated.json()["metadata"] == writer.metadata()
    assert repeated.json()["metadata-location"] == landed.json()["metadata-location"]

    for checkpoint in (10, 9):  # the same files under another snapshot, as the stock sink would add them
        refused = writer.send(writer.change(checkpoint))
        assert refused.status_code == 400, refused.text
        assert refused.json()["error"]["type"] == "BadRequestException"

    assert writer.send(writer.change(11)).status_code == 200
    written = [
        member["summary"]["flink.max-committed-checkpoint-id"]
        for member in writer.metadata()["snapshots"]
        if member["summary"].get("flink.job-id") == writer.job_id
    ]
    assert written == ["10", "11"]
    assert len(writer.metadata()["snapshots"]) == before + 2

    metrics = httpx.get(f"{settings.guard_url}/-/metrics").text
    for outcome, count in {"forwarded": 2, "repeated": 1, "refused": 2}.items():
        labels = f'{{outcome="{outcome}",table="{writer.table}"}}'
        assert f"lakehouse_commit_guard_commits_total{labels} {count}.0" in metrics


def test_the_catalog_alone_takes_a_checkpoint_twice(writer: FlinkWriter, settings: Settings) -> None:
    """Shows that what the guard refuses would land without it."""
    with httpx.Client(base_url=settings.catalog_uri, headers=dict(writer.client.headers)) as direct:
        for _ in range(2):
            assert direct.post(writer.path, json=writer.change(10)).status_code == 200


def test_answers_of_the_catalog_come_back_as_they_are(client: httpx.Client, settings: Settings) -> None:
    with httpx.Client(base_url=settings.catalog_uri, headers=dict(client.headers)) as direct:
        for path in ("/v1/namespaces", "/v1/namespaces/none/tables/none", "/v1/namespaces/a%1Fb", "/nothing"):
            through, past = client.get(path), direct.get(path)
            assert (through.status_code, through.content) == (past.status_code, past.content)
            assert through.headers.get("Content-Type") == past.headers.get("Content-Type")


def test_ready(settings: Settings) -> None:
    assert httpx.get(f"{settings.guard_url}/-/ready", timeout=10).json() == {"status": "ready"}
