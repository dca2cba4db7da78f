"""The application: ``granian --interface asgi commit_guard.app:create_worker --factory``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from urllib.parse import urlencode

import httpx
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from commit_guard.guard import CommitGuard, upstream_error_response
from commit_guard.messages import Incoming
from commit_guard.metrics import Metrics
from commit_guard.proxy import CONFIG_PATH, Proxy
from commit_guard.upstream import READY_TIMEOUT_S, Upstream, UpstreamError
from resources.service import end_with_parent
from settings import Settings, load_settings


def create_app(
    settings: Settings | None = None, *, transport: httpx.AsyncBaseTransport | None = None
) -> Starlette:
    """Create the application; nothing is connected before the first request.

    Args:
        settings: where the catalog is; by default from the environment.
        transport: how the catalog is reached; by default by HTTP.

    Raises:
        SettingsError: ``settings`` are left out and the environment does not give them.
    """
    configured = settings or load_settings()
    metrics = Metrics()
    upstream = Upstream(configured.guard_upstream, metrics, transport)
    proxy = Proxy(upstream, CommitGuard(upstream, metrics))
    probe = Incoming("GET", CONFIG_PATH, urlencode({"warehouse": configured.warehouse}).encode(), [], b"")

    async def live(_: Request) -> Response:
        return JSONResponse({"status": "live"})

    async def ready(_: Request) -> Response:
        try:
            answer = await upstream.send(probe, timeout_s=READY_TIMEOUT_S)
            await upstream.read(answer)
        except UpstreamError as error:
            return upstream_error_response(HTTPStatus.SERVICE_UNAVAILABLE, error)
        # a catalog that wants credentials for its configuration answers 401, and works
        if answer.is_server_error:
            status = HTTPStatus.SERVICE_UNAVAILABLE
            return upstream_error_response(
                status, UpstreamError(status, f"the catalog answers {answer.status_code}")
            )
        return JSONResponse({"status": "ready"})

    async def exposition(_: Request) -> Response:
        return Response(metrics.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await proxy.finish()
        await upstream.aclose()

    # the catalog's paths begin with /v1: none can be taken for one of these
    routes = [Route("/-/live", live), Route("/-/ready", ready), Route("/-/metrics", exposition)]
    app = Starlette(routes=routes, lifespan=lifespan)
    app.router.redirect_slashes = False
    app.router.default = proxy
    return app


def create_worker() -> Starlette:
    """The application in a worker of a server, which ends with it.

    Raises:
        SettingsError: the environment does not give the settings.
    """
    end_with_parent()
    return create_app()
