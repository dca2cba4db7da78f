"""Metrics of the loader, in Prometheus' text format."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

APPLY_SECONDS_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5)


class Metrics:
    """What the loader has done, and how far behind it is."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.records = Counter("lakehouse_hot_view_records", "Records read", ("topic",), registry=self._registry)
        self.unreadable = Counter(
            "lakehouse_hot_view_unreadable", "Records that were left out", ("topic",), registry=self._registry
        )
        self.batches = Counter("lakehouse_hot_view_batches", "Batches written to Redis", registry=self._registry)
        self.changes = Counter(
            "lakehouse_hot_view_changes", "Entries that a batch replaced", registry=self._registry
        )
        self.rebuilds = Counter(
            "lakehouse_hot_view_rebuilds", "Times that the view was empty and loaded anew", registry=self._registry
        )
        self.lag = Gauge(
            "lakehouse_hot_view_lag_records", "Records that were not read yet", ("topic",), registry=self._registry
        )
        self.apply_seconds = Histogram(
            "lakehouse_hot_view_apply_seconds",
            "Time that Redis takes to bring one batch into the view",
            buckets=APPLY_SECONDS_BUCKETS,
            registry=self._registry,
        )

    def serve(self, host: str, port: int) -> None:
        """Answer ``GET /metrics`` in a thread of its own."""
        start_http_server(port, host, registry=self._registry)
