"""Metrics of one guard, in Prometheus' text format."""

from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import generate_latest

ADDED_SECONDS_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class Outcome(StrEnum):
    """What became of a commit of Flink."""

    FORWARDED = "forwarded"
    REPEATED = "repeated"
    REFUSED = "refused"
    FAILED = "failed"


class Metrics:
    """Counters and latency of one guard; every application has its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.commits = Counter(
            "lakehouse_commit_guard_commits",
            "Commits of Flink: forwarded and answered by the catalog, repeated and answered with the table, "
            "refused because the table holds the checkpoint, failed because the catalog did not answer",
            ("table", "outcome"),
            registry=self._registry,
        )
        self.added_seconds = Histogram(
            "lakehouse_commit_guard_added_seconds",
            "Time that the guard adds to a commit of Flink: all but the catalog's own commit",
            buckets=ADDED_SECONDS_BUCKETS,
            registry=self._registry,
        )
        self.upstream_failures = Counter(
            "lakehouse_commit_guard_upstream_failures",
            "Requests that the catalog did not answer, by the status that the client got instead",
            ("status",),
            registry=self._registry,
        )

    def exposition(self) -> bytes:
        """Return all metrics as Prometheus reads them."""
        return generate_latest(self._registry)
