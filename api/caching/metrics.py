"""How the caches do, as metrics."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge


@dataclass(frozen=True, slots=True)
class Counted:
    """What is counted of one cache."""

    hits: Counter
    misses: Counter
    evictions: Counter
    bytes: Gauge


class CacheMetrics:
    """Metrics of the caches of one worker; the cache is a label."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("cache",)
        self._hits = Counter(
            "lakehouse_api_cache_hits", "Lookups that found what they looked for", labels, registry=registry
        )
        self._misses = Counter("lakehouse_api_cache_misses", "Lookups that did not", labels, registry=registry)
        self._evictions = Counter(
            "lakehouse_api_cache_evictions", "Values that had to go for others", labels, registry=registry
        )
        self._bytes = Gauge("lakehouse_api_cache_bytes", "Bytes of what is kept", labels, registry=registry)
        self.joined = Counter(
            "lakehouse_api_reads_joined",
            "Requests that got what an identical one was reading already",
            registry=registry,
        )
        self.shared_errors = Counter(
            "lakehouse_api_shared_answer_errors",
            "Times that Redis did not give or take an answer; it is not asked for a while then",
            registry=registry,
        )

    def of(self, cache: str) -> Counted:
        """What is counted of ``cache``, from now on."""
        return Counted(
            hits=self._hits.labels(cache),
            misses=self._misses.labels(cache),
            evictions=self._evictions.labels(cache),
            bytes=self._bytes.labels(cache),
        )
