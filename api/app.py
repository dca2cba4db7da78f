"""The application, which :mod:`api.worker` starts."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.utils import get_openapi
from fastapi.telemetry import TelemetryConfig
from pyarrow.fs import FileSystem
from pyiceberg.catalog import Catalog

from api.access import Access
from api.aggregates.router import aggregates_router
from api.caching.caches import open_caches
from api.caching.metrics import CacheMetrics
from api.callers import Callers
from api.catalog import CatalogReader
from api.headers import CORS_ANSWER_HEADERS, CORS_METHODS, CORS_REQUEST_HEADERS
from api.health.router import router as health_router
from api.latest.changes import ChangeFeed
from api.latest.reader import HotViewReader
from api.latest.router import latest_router
from api.latest.stream_router import websocket_router
from api.latest.table_values import TableValues
from api.latest.websocket import deny_invalid_parameters
from api.live_page.router import router as live_page_router
from api.metrics import Metrics
from api.observation import Observation
from api.prepared import PreparedRequests
from api.problems import InvalidParameter, Problem, handle_problems
from api.quality.router import router as quality_router
from api.rate_limits import RateLimiter
from api.rows.router import rows_router
from api.tables.metrics import TableMetrics
from api.tables.router import router as tables_router
from api.tables.states import TableStates
from api.tracing import Tracing
from api.windows.router import windows_router
from contracts import families, served_tables
from resources.catalog import open_catalog
from resources.hot_view import connect_async, connect_async_once
from resources.object_store import object_store
from settings import Settings, load_settings

DESCRIPTION = """
Tables of the city's sensors (traffic, weather, energy), read from the Iceberg catalog.

* **Key.** Everything under `/v1` needs a key, as header `X-API-Key` or as `Authorization: Bearer`. That of the
  installation sees everything; a local one keeps it in `.lakehouse/local.env` (`LAKEHOUSE_API_KEY`). Others, for
  some tables and some time, are made by `./lakehouse keys create`; what they do not see is answered 403. Where the
  installation accepts an issuer's access tokens (JWT), those do as well, as bearer.
* **Limits.** A key may send so many requests in some seconds: `RateLimit-Policy` says how many, `RateLimit` what
  is left, and one too many is answered 429 with `Retry-After`.
* **Tables.** `GET /v1/tables` lists what there is, `GET /v1/tables/{namespace}.{table}` describes one table,
  `GET /v1/tables/{namespace}.{table}/rows` reads it, and `/aggregate` in place of `/rows` counts, sums and
  averages.
* **Quality.** `GET /v1/quality` says what the checks of each table found, `GET /v1/quality/report` shows it.
* **Live values.** `GET /v1/{family}/sensors/{sensor_id}/latest` is the newest reading of a sensor,
  `GET /v1/{family}/latest` that of all, and `GET /v1/{family}/stream` sends each change as it comes, as
  server-sent events or over a WebSocket.
* **Windows.** `GET /v1/{family}/windows` joins the finished windows of the zones with those that still run.
* **Time.** Instants are UTC, written as RFC 3339 with `Z`: `2026-03-01T08:00:00Z`.
* **Snapshots.** Every answer names the Iceberg snapshot it was read from. Identifiers of snapshots are 64-bit
  numbers and stand in JSON as text, because many readers keep only 53 bits of a number.
* **Errors** are problem documents (RFC 9457): `detail` says what to change.

```
curl -H "X-API-Key: $LAKEHOUSE_API_KEY" \\
  "http://127.0.0.1:8000/v1/tables/bronze.traffic_events/rows?zone=centre&avg_speed_kmh__lt=20&order=-event_time&limit=5"
```
"""

NO_TELEMETRY_OF_ITS_OWN: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "auto_configure": False,
}
"""FastAPI would note the whole address of a request where a process has set up OpenTelemetry."""


def create_app(
    settings: Settings | None = None,
    *,
    catalog_factory: Callable[[Settings], Catalog] = open_catalog,
    store_factory: Callable[[Settings], FileSystem] = object_store,
    serve_metrics: bool = False,
) -> FastAPI:
    """Create the application; nothing is connected before the first request that needs it.

    Args:
        settings: by default from the environment.
        catalog_factory: opens the catalog.
        store_factory: opens the object store.
        serve_metrics: whether metrics are served as long as the application runs, on a port of their own.

    Raises:
        SettingsError: ``settings`` are left out and the environment does not give them.
    """
    configured = settings or load_settings()
    served = served_tables()
    metrics = Metrics()
    table_metrics = TableMetrics(served)
    metrics.registry.register(table_metrics)
    cache_metrics = CacheMetrics(metrics.registry)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.store = store_factory(configured)
        app.state.reader = CatalogReader(configured, catalog_factory, served)
        ports = configured.api_metrics_ports if serve_metrics else ()
        async with (
            connect_async(configured) as redis,
            # connections of its own: a limit does not wait for one that reads much
            connect_async(configured) as of_limits,
            # to enter it would connect it
            aclosing(connect_async_once(configured)) as of_entries,
            open_caches(configured, cache_metrics) as app.state.caches,
        ):
            app.state.limiter = RateLimiter(of_limits, configured.api_rate_limit, metrics)
            app.state.states = TableStates(app.state.reader, app.state.caches.file_lists)
            table_metrics.attach(app.state.reader, app.state.states)
            app.state.table_values = TableValues(
                app.state.reader, app.state.states, app.state.caches, cache_metrics.of("table_values")
            )
            app.state.hot_view = HotViewReader(redis, of_entries)
            app.state.changes = ChangeFeed(redis, app.state.hot_view)
            if tracing is not None:
                tracing.start()
            with metrics.served(configured.api_host, ports):
                yield
            await app.state.changes.close()
            if tracing is not None:
                await tracing.stop()

    app = FastAPI(
        title="City lakehouse",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        telemetry=NO_TELEMETRY_OF_ITS_OWN,
    )
    app.state.prepared = PreparedRequests()
    handle_problems(app)
    # the last is the outermost: what is refused is noted, too, and scripts of other pages may read it
    app.add_middleware(Access, prepared=app.state.prepared)
    _allow_origins(app, configured)
    app.add_middleware(Observation, metrics=metrics)
    tracing = Tracing(app, configured.otlp_endpoint) if configured.otlp_endpoint else None
    app.state.settings = configured
    app.state.callers = Callers(configured)
    app.state.metrics = metrics
    app.state.tables = {table.identifier: table for table in served}
    deny_invalid_parameters(app)
    app.include_router(tables_router)
    app.include_router(rows_router(served, max_rows=configured.api_max_rows))
    app.include_router(aggregates_router(served, max_rows=configured.api_max_rows))
    app.include_router(quality_router)
    app.include_router(health_router)
    app.include_router(live_page_router)
    # last: what is neither /v1/tables nor /v1/quality is a family
    app.include_router(latest_router(families(), max_rows=configured.api_max_rows))
    app.include_router(websocket_router(families()))
    app.include_router(windows_router(families(), max_rows=configured.api_max_rows))
    app.openapi = cache(lambda: _openapi(app))  # type: ignore[method-assign]
    return app


def _allow_origins(app: FastAPI, settings: Settings) -> None:
    """Let scripts of the pages that the settings name read answers; without any, browsers let none but our own."""
    if settings.api_cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.api_cors_origins,
            allow_methods=CORS_METHODS,
            allow_headers=CORS_REQUEST_HEADERS,
            expose_headers=CORS_ANSWER_HEADERS,
        )


def _openapi(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    template = "#/components/schemas/{model}"
    schema = Problem.model_json_schema(ref_template=template)
    definitions = schema.pop("$defs")
    # routes refer to it by name, as FastAPI cannot give a model another media type than the route's
    document["components"]["schemas"] |= {
        "Problem": schema,
        InvalidParameter.__name__: definitions["InvalidParameter"],
    }
    return document
