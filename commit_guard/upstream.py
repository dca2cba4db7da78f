"""The catalog behind the guard."""

from http import HTTPStatus
from typing import Any

import httpx
import orjson

from commit_guard.messages import Incoming, RawHeaders, end_to_end
from commit_guard.metrics import Metrics
from contracts import LakehouseError

CONNECT_TIMEOUT_S = 5
ANSWER_TIMEOUT_S = 600
"""Longer than the three minutes that Iceberg's Java client waits on a socket by default: it gives up first."""

READY_TIMEOUT_S = 2

_CONNECTION_OWN = frozenset({b"host", b"expect"})
"""Headers for the guard alone: where it is, and whether it wants the body, which it has by now."""

_OF_THE_COMMIT = frozenset(
    {
        b"accept-encoding",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"idempotency-key",
        b"if-match",
        b"if-none-match",
        b"x-iceberg-access-delegation",
    }
)
"""Headers of a commit that mean something else, or cost the catalog something, on a load of its table."""


class UpstreamError(LakehouseError):
    """The catalog gave no answer; ``status`` says in the terms of the REST spec whether it may have acted."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class RelayedError(LakehouseError):
    """The catalog does not let the client see the table; ``response`` is what it says."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(f"the catalog answered {response.status_code} to a load of the table")
        self.response = response


class Upstream:
    """Sends requests to the catalog; a commit at most once, a ``GET`` whose connection broke once more."""

    def __init__(self, catalog_uri: str, metrics: Metrics, transport: httpx.AsyncBaseTransport | None) -> None:
        self._base = httpx.URL(catalog_uri.rstrip("/"))
        self._metrics = metrics
        timeout = httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S, pool=CONNECT_TIMEOUT_S)
        self._client = httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def send(self, incoming: Incoming, *, timeout_s: float | None = None) -> httpx.Response:
        """Send a request on and return the answer, whose body the caller reads and closes.

        Args:
            incoming: the request, in the client's words.
            timeout_s: for each step, in seconds; by default as long as a commit may take.

        Raises:
            UpstreamError: no answer came.
        """
        extensions: dict[str, Any] = {"target": self._base.raw_path.rstrip(b"/") + incoming.target}
        if timeout_s is not None:
            extensions["timeout"] = httpx.Timeout(timeout_s).as_dict()
        # a bare request, as a client adds headers of its own; the target as bytes, as a URL is normalised
        request = httpx.Request(
            incoming.method,
            self._base,
            headers=end_to_end(incoming.headers, without=_CONNECTION_OWN),
            content=incoming.content,
            extensions=extensions,
        )
        try:
            return await self._attempt(request)
        except httpx.RequestError as error:
            raise self._failure(error) from error

    async def _attempt(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._client.send(request, stream=True)
        except (httpx.NetworkError, httpx.RemoteProtocolError):
            if request.method != "GET":
                raise
        # an idle connection that the catalog has closed looks the same as a catalog that is away
        return await self._client.send(request, stream=True)

    async def load_table(self, path: bytes, headers: RawHeaders) -> dict[str, Any] | None:
        """Load a table with all its snapshots, in the name of the client that sent ``headers``.

        Returns:
            The ``LoadTableResult``, or ``None`` where there is no such table.

        Raises:
            UpstreamError: the catalog did not answer, failed, or answered something else than a table.
            RelayedError: the catalog refused.
        """
        wanted = end_to_end(headers, without=_OF_THE_COMMIT)
        response = await self.send(Incoming("GET", path, b"snapshots=all", wanted, b""))
        content = await self.read(response)
        if response.status_code == HTTPStatus.NOT_FOUND:
            return None
        if response.is_client_error:
            raise RelayedError(response)
        table = _load_table_result(content) if response.status_code == HTTPStatus.OK else None
        if table is None:
            raise UpstreamError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"the catalog answered {response.status_code} and no table to a load of the table",
            )
        return table

    async def read(self, response: httpx.Response) -> bytes:
        """Read the whole body.

        Raises:
            UpstreamError: the connection broke.
        """
        try:
            return await response.aread()
        except httpx.RequestError as error:
            raise self._failure(error) from error
        finally:
            await response.aclose()

    def _failure(self, error: httpx.RequestError) -> UpstreamError:
        # 502 and 504 mean to a client that the state of its commit is unknown, 503 that nothing happened
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
            status, what = HTTPStatus.SERVICE_UNAVAILABLE, "the catalog cannot be reached, nothing was sent to it"
        elif isinstance(error, httpx.TimeoutException):
            status, what = HTTPStatus.GATEWAY_TIMEOUT, "the catalog did not answer in time, it may have acted"
        else:
            status, what = HTTPStatus.BAD_GATEWAY, "the connection to the catalog broke, it may have acted"
        self._metrics.upstream_failures.labels(str(status.value)).inc()
        return UpstreamError(status, f"{what}: {error!r}")


def _load_table_result(content: bytes) -> dict[str, Any] | None:
    try:
        document: dict[str, Any] = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    match document:
        case {"metadata": dict(), "metadata-location": str()}:
            return document
        case _:
            return None
