"""What waits in Airflow's triggerer for a running Dagster: until a run has ended, until a stream reaches far enough.

Airflow's triggerer imports from its plugins folder, not from its DAGs folder: this module must be there.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

import lakehouse_graphql as graphql

CONNECTION = "lakehouse_dagster"
REQUEST_TIMEOUT_S = 300
"""A run over many partitions takes Dagster minutes to accept on a small machine."""
POLL_S = 5.0
TIMED_OUT = "TIMED_OUT"
SERVER_ERRORS = frozenset({500, 502, 503, 504})
"""Of the webserver, where an exception kept it from answering, and of proxies before it."""


def connect(connection: str) -> graphql.Dagster:
    """Requests to the Dagster of an Airflow connection; reads the connection, asks nothing yet."""
    # they take longer to import than all DAGs take to parse
    import requests
    from airflow.providers.http.hooks.http import HttpHook

    hook = HttpHook(method="POST", http_conn_id=connection)
    session = hook.get_conn()
    found = hook.get_connection(connection)
    if found.password and not found.login:
        session.headers["Authorization"] = f"Bearer {found.password}"

    def post(body: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            response = session.post(
                f"{hook.base_url}/graphql", json=body, timeout=REQUEST_TIMEOUT_S
            )
        except (requests.ConnectionError, requests.Timeout) as error:
            # the error's text names the address only; headers are never part of it
            raise graphql.UnreachableError(
                f"Dagster does not answer at {hook.base_url}: {error}"
            ) from None
        if response.status_code in SERVER_ERRORS:
            raise graphql.UnreachableError(
                f"{hook.base_url} answers {response.status_code}"
            )
        if not response.ok:
            raise graphql.DagsterError(
                f"{hook.base_url} answers {response.status_code} {response.reason}"
            )
        answer: Mapping[str, Any] = response.json()
        return answer

    return graphql.Dagster(post, str(hook.base_url))


class RunEnds(BaseTrigger):
    """Fires when a Dagster run has ended, and logs its events until then."""

    def __init__(self, connection: str, run_id: str, deadline: float) -> None:
        super().__init__()
        self.connection = connection
        self.run_id = run_id
        self.deadline = deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What another triggerer needs to go on; the token is not part of it."""
        kept = {
            "connection": self.connection,
            "run_id": self.run_id,
            "deadline": self.deadline,
        }
        return f"{type(self).__module__}.{type(self).__qualname__}", kept

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ask until the run has ended; a webserver that does not answer is asked again."""
        dagster = await sync_to_async(connect)(self.connection)
        cursor = None
        while time.time() < self.deadline:
            # and first of all: a scheduler that hears of the event before it has seen that the task was
            # deferred takes the task for killed
            await asyncio.sleep(POLL_S)
            try:
                progress = await asyncio.to_thread(
                    dagster.progress, self.run_id, cursor
                )
            except graphql.UnreachableError as error:
                self.log.warning("%s; asking again", error)
                continue
            except graphql.DagsterError as error:
                self.log.error("%s", error)
                yield TriggerEvent({"run_id": self.run_id, "status": "UNKNOWN"})
                return
            cursor = progress.cursor
            for line in progress.lines:
                self.log.info("%s", line)
            if progress.status in graphql.ENDED:
                yield TriggerEvent({"run_id": self.run_id, "status": progress.status})
                return
        yield TriggerEvent({"run_id": self.run_id, "status": TIMED_OUT})

    async def on_kill(self) -> None:
        """Cancel the run of a task that a user cleared or marked; Airflow 3.3 and newer call this."""
        dagster = await sync_to_async(connect)(self.connection)
        await asyncio.to_thread(dagster.cancel, self.run_id)


class WatermarkPasses(BaseTrigger):
    """Fires when the newest snapshots of an asset have a watermark at or after ``until``."""

    def __init__(
        self, connection: str, asset: str, until: float, deadline: float
    ) -> None:
        super().__init__()
        self.connection = connection
        self.asset = asset
        self.until = until
        self.deadline = deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What another triggerer needs to go on."""
        kept = {
            name: getattr(self, name)
            for name in ("connection", "asset", "until", "deadline")
        }
        return f"{type(self).__module__}.{type(self).__qualname__}", kept

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ask until it has passed, or the deadline has."""
        dagster = await sync_to_async(connect)(self.connection)
        until = datetime.fromtimestamp(self.until).astimezone()
        reached = "nothing"
        while True:
            await asyncio.sleep(POLL_S)
            try:
                commit = await asyncio.to_thread(dagster.commit, self.asset)
                reached = str(commit.watermark or commit.committed_at or "nothing")
                if commit.passes(until):
                    yield TriggerEvent({"status": "REACHED", "reached": reached})
                    return
                self.log.info(
                    "%s reaches to %s, waiting for %s", self.asset, reached, until
                )
            except graphql.UnreachableError as error:
                self.log.warning("%s; asking again", error)
            if time.time() >= self.deadline:
                yield TriggerEvent({"status": TIMED_OUT, "reached": reached})
                return
