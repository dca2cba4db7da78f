"""Metrics of one worker of the API, in Prometheus' text format, on a port of their own."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

SECONDS_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
OTHER = "other"
"""Route of what has none, and method of what is no usual one: a client must not be able to add series."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

logger = logging.getLogger(__name__)


class Metrics:
    """What a worker has answered, and how fast; every application has its own.

    Workers are processes of their own, and so is what they count: each is a target of Prometheus. Status is the
    class, like ``2xx``.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("route", "method", "status")
        self._requests = Counter(
            "lakehouse_api_requests", "Requests that were answered", labels, registry=self.registry
        )
        self._seconds = Histogram(
            "lakehouse_api_request_seconds",
            "Time from a request to the beginning of its answer; how long a stream lasts is the client's",
            labels,
            buckets=SECONDS_BUCKETS,
            registry=self.registry,
        )
        self._series: dict[tuple[str | None, str, int], tuple[Counter, Histogram]] = {}
        self.in_flight = 0
        """Requests that are being answered."""
        Gauge(
            "lakehouse_api_requests_in_flight", "Requests that are being answered", registry=self.registry
        ).set_function(lambda: self.in_flight)
        self.limited = Counter(
            "lakehouse_api_rate_limited",
            "Requests that were refused for the rate of their key",
            registry=self.registry,
        )
        self.unlimited = Counter(
            "lakehouse_api_rate_unlimited",
            "Requests of keys with a limit that was not held, as Redis did not answer",
            registry=self.registry,
        )

    def answered(self, route: str | None, method: str, status: int, seconds: float) -> None:
        """Count an answer of ``route``, the template of its path; ``None`` where no route matched."""
        of = route, method, status // 100
        series = self._series.get(of)
        if series is None:
            labels = (route or OTHER, method if method in METHODS else OTHER, f"{status // 100}xx")
            series = self._requests.labels(*labels), self._seconds.labels(*labels)
            # a client chooses the method, and must not be able to fill this
            if method in METHODS:
                self._series[of] = series
        requests, taken = series
        requests.inc()
        taken.observe(seconds)

    @contextmanager
    def served(self, host: str, ports: Sequence[int]) -> Iterator[None]:
        """Answer ``GET /metrics`` in a thread, on the first of ``ports`` that no other worker has.

        Where all are taken the service works, and says so: it is not for its metrics that it is there.
        """
        for port in ports:
            try:
                server, thread = start_http_server(port, host, registry=self.registry)
            except OSError:
                continue
            try:
                yield
            finally:
                server.shutdown()
                server.server_close()
                thread.join()
            return
        if ports:
            logger.error("no port of %s is free: set LAKEHOUSE_API_METRICS_PORT to another", list(ports))
        yield
