"""A REST catalog in memory: as much of the spec as decides whether a commit lands, and faults at named points."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from copy import deepcopy
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

TABLE = "/v1/warehouse/namespaces/bronze%1Fcity/tables/events"
OTHER_TABLE = "/v1/warehouse/namespaces/bronze%1Fcity/tables/others"
TRANSACTION = "/v1/warehouse/transactions/commit"
CATALOG_URI = "http://catalog.test:8181"

Json = dict[str, Any]
Fault = Callable[[httpx.Request], Awaitable[None]]


class ConflictError(Exception):
    pass


class MemoryCatalog(httpx.ASGITransport):
    """The catalog and the way to it.

    ``before`` runs when a request has reached the catalog, ``after`` when it has acted and before it answers.
    """

    def __init__(self) -> None:
        routes = [
            Route("/v1/config", self._config),
            Route("/v1/{prefix}/transactions/commit", self._commit_transaction, methods=["POST"]),
            Route("/v1/{prefix}/namespaces/{ns}/tables/{table}", self._load, methods=["GET"]),
            Route("/v1/{prefix}/namespaces/{ns}/tables/{table}", self._commit, methods=["POST"]),
        ]
        super().__init__(Starlette(routes=routes))
        self.config: Json = {"defaults": {}, "overrides": {}}
        self.tables: dict[tuple[str, ...], Json] = {}
        for name in ("events", "others"):
            self.tables["bronze", "city", name] = {
                "format-version": 2,
                "table-uuid": f"uuid-of-{name}",
                "refs": {},
                "snapshots": [],
            }
        self.requests: list[httpx.Request] = []
        self.load_answer: httpx.Response | None = None
        self.commit_answer: httpx.Response | None = None
        self.before: Fault = _nothing
        self.after: Fault = _nothing

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(raw_path=request.extensions["target"])
        self.requests.append(request)
        await self.before(request)
        given = self.load_answer if request.method == "GET" else self.commit_answer
        if given is not None:
            return given
        response = await super().handle_async_request(request)
        await self.after(request)
        return response

    @property
    def table(self) -> Json:
        return self.tables["bronze", "city", "events"]

    @property
    def commits(self) -> list[httpx.Request]:
        return [request for request in self.requests if request.method == "POST"]

    @property
    def loads(self) -> list[httpx.Request]:
        return [request for request in self.requests if request.method == "GET"]

    def head(self, branch: str = "main") -> int | None:
        reference = self.table["refs"].get(branch)
        return None if reference is None else reference["snapshot-id"]

    async def _config(self, _: Request) -> Response:
        return JSONResponse(self.config)

    async def _load(self, request: Request) -> Response:
        metadata = self.tables.get(_identifier(request))
        if metadata is None:
            return _error(404, "NoSuchTableException")
        assert request.query_params["snapshots"] == "all"
        return JSONResponse({"metadata-location": "s3://here", "metadata": metadata, "config": {"secret": "no"}})

    async def _commit(self, request: Request) -> Response:
        identifier = _identifier(request)
        try:
            self._apply([(identifier, await request.json())])
        except ConflictError as conflict:
            return _error(409, str(conflict))
        return JSONResponse({"metadata-location": "s3://here", "metadata": self.tables[identifier]})

    async def _commit_transaction(self, request: Request) -> Response:
        changes = (await request.json())["table-changes"]
        named = [((*c["identifier"]["namespace"], c["identifier"]["name"]), c) for c in changes]
        try:
            self._apply(named)
        except ConflictError as conflict:
            return _error(409, str(conflict))
        return Response(status_code=204)

    def _apply(self, changes: list[tuple[tuple[str, ...], Json]]) -> None:
        changed = deepcopy(self.tables)
        for identifier, change in changes:
            metadata = changed[identifier]
            for requirement in change.get("requirements", []):
                if requirement["type"] == "assert-ref-snapshot-id":
                    reference = metadata["refs"].get(requirement["ref"], {}).get("snapshot-id")
                    if reference != requirement["snapshot-id"]:
                        raise ConflictError("CommitFailedException")
            for update in change["updates"]:
                if update["action"] == "add-snapshot":
                    present = [snapshot["snapshot-id"] for snapshot in metadata["snapshots"]]
                    if update["snapshot"]["snapshot-id"] in present:
                        raise ConflictError("BadRequestException")
                    metadata["snapshots"].append(update["snapshot"])
                elif update["action"] == "set-snapshot-ref":
                    metadata["refs"][update["ref-name"]] = {
                        "snapshot-id": update["snapshot-id"],
                        "type": update["type"],
                    }
        self.tables = changed


async def _nothing(_: httpx.Request) -> None:
    pass


def _identifier(request: Request) -> tuple[str, ...]:
    return (*request.path_params["ns"].split("\x1f"), request.path_params["table"])


def _error(status: int, kind: str) -> Response:
    return JSONResponse({"error": {"message": "no", "type": kind, "code": status}}, status)


def snapshot(
    checkpoint: int | str,
    *,
    parent: int | None,
    job: str = "job-a",
    operator: str = "operator-1",
    snapshot_id: int | None = None,
) -> Json:
    """Return a snapshot as Iceberg's Flink sink writes it."""
    written = {
        "snapshot-id": snapshot_id or random.getrandbits(62),
        "sequence-number": 1,
        "manifest-list": "s3://somewhere",
        "summary": {
            "operation": "append",
            "flink.job-id": job,
            "flink.operator-id": operator,
            "flink.max-committed-checkpoint-id": str(checkpoint),
        },
    }
    return written if parent is None else {**written, "parent-snapshot-id": parent}


def assertion(head: int | None, branch: str = "main") -> Json:
    return {"type": "assert-ref-snapshot-id", "ref": branch, "snapshot-id": head}


def change(*snapshots: Json, requirements: list[Json], branch: str = "main", name: str = "events") -> Json:
    """Return the body of an ``UpdateTable`` that puts ``branch`` at the last of ``snapshots``."""
    added = [{"action": "add-snapshot", "snapshot": member} for member in snapshots]
    reference = {
        "action": "set-snapshot-ref",
        "ref-name": branch,
        "type": "branch",
        "snapshot-id": snapshots[-1]["snapshot-id"],
    }
    return {
        "identifier": {"namespace": ["bronze", "city"], "name": name},
        "requirements": requirements,
        "updates": [*added, reference],
    }


async def post(app: Starlette, path: str, body: Json | bytes, **headers: str) -> httpx.Response:
    """Send a request to a guard."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://guard.test") as client:
        # httpx would normalise a path it is given as text
        url = client.base_url.copy_with(raw_path=path.encode())
        return await client.post(url, content=content, headers={"Authorization": "Bearer token", **headers})


async def get(app: Starlette, path: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://guard.test") as client:
        return await client.get(path)


class Held:
    """Holds the first commit that reaches the catalog until it is released."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.released = asyncio.Event()

    async def __call__(self, request: httpx.Request) -> None:
        if request.method == "POST" and not self.reached.is_set():
            self.reached.set()
            await self.released.wait()


def once(error: Exception, method: str) -> Fault:
    """Raise ``error`` for the first request of ``method``."""
    raised = False

    async def fault(request: httpx.Request) -> None:
        nonlocal raised
        if request.method == method and not raised:
            raised = True
            raise error

    return fault


def always(error: Exception, method: str) -> Fault:
    """Raise ``error`` for every request of ``method``."""

    async def fault(request: httpx.Request) -> None:
        if request.method == method:
            raise error

    return fault
