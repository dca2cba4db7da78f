"""Traces by OpenTelemetry, for who has a collector; without its address none of it is imported here."""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from anyio import move_on_after, to_thread
from fastapi import FastAPI

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

SERVICE = "lakehouse-api"
EXPORT_TIMEOUT_S = 5.0
UNTRACED = "health/live,health/ready"
"""Probes, every few seconds."""

_SPAN = "lakehouse.span"
"""Where a request's scope has its span."""
_ADDRESSES = ("http.url", "http.target", "url.full", "url.path", "url.query")
"""What the instrumentation notes of an address: as in the log, places and keys may stand in those."""

_tracer: ContextVar["Tracer | None"] = ContextVar("tracer", default=None)
"""Of the request that is being answered, where it is traced."""


class Tracing:
    """Traces of one application, sent to a collector by OTLP over HTTP (OpenTelemetry Protocol 1.x)."""

    def __init__(self, app: FastAPI, endpoint: str) -> None:
        """Instrument ``app``, before it answers anything; nothing is sent before :meth:`start`."""
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
        from opentelemetry.metrics import NoOpMeterProvider
        from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider

        self._endpoint = endpoint
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come before it
        named = Resource.create({SERVICE_NAME: SERVICE}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=named, shutdown_on_exit=False)
        FastAPIInstrumentor.instrument_app(
            app,
            server_request_hook=_begin(self._provider.get_tracer(__name__)),
            tracer_provider=self._provider,
            # Prometheus has them
            meter_provider=NoOpMeterProvider(),
            excluded_urls=UNTRACED,
            exclude_spans=["receive", "send"],
        )

    def start(self) -> None:
        """Send spans as they end, in a thread."""
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        exporter = OTLPSpanExporter(f"{self._endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))

    async def stop(self) -> None:
        """Send what is left, if the collector takes it soon, and end."""
        with move_on_after(EXPORT_TIMEOUT_S):
            await to_thread.run_sync(self._provider.shutdown, abandon_on_cancel=True)


@contextmanager
def span(name: str) -> Iterator[None]:
    """Note as a part of the request's trace how long this lasts."""
    tracer = _tracer.get()
    if tracer is None:
        yield
        return
    with tracer.start_as_current_span(name):
        yield


def id_of_trace(scope: Mapping[str, Any]) -> str | None:
    """The trace that a request is part of, as 32 hexadecimal digits."""
    current: Span | None = scope.get(_SPAN)
    return None if current is None else f"{current.get_span_context().trace_id:032x}"


def annotate(scope: Mapping[str, Any], request_id: str, fields: Mapping[str, str | None]) -> None:
    """Note what is known of a request in its span."""
    current: Span | None = scope.get(_SPAN)
    if current is not None:
        known = {name: value for name, value in fields.items() if value is not None} | {"request_id": request_id}
        current.set_attributes({f"lakehouse.{name}": value for name, value in known.items()})


def _begin(tracer: "Tracer") -> Callable[["Span", MutableMapping[str, Any]], None]:
    def begin(current: "Span", scope: MutableMapping[str, Any]) -> None:
        scope[_SPAN] = current
        _tracer.set(tracer)
        attributes: Mapping[str, Any] = getattr(current, "attributes", None) or {}
        for name in _ADDRESSES:
            if name in attributes:
                current.set_attribute(name, attributes.get("http.route", ""))

    return begin
