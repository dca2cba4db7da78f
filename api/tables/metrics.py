"""How old the tables are, and what their checks say, as metrics: read when Prometheus asks."""

import asyncio
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client import Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api.catalog import CatalogReader
from api.problems import UnavailableError
from api.quality.service import WORST_FIRST
from api.tables.states import TableStates
from contracts import Table
from contracts.quality import Verdict
from resources.freshness import reach_at

PATIENCE_S = 3.0
"""How long a scrape waits for the catalog and the object store; Prometheus itself waits ten seconds."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Known:
    """What was last read of a table."""

    newest: datetime | None
    committed_at: datetime | None
    verdict: Verdict | None


class TableMetrics(Collector):
    """Gauges of each table; what cannot be read is as it was known last, and counted.

    The age of data goes on growing while the catalog is away. Prometheus asks in a thread, the reader belongs to
    an event loop: :meth:`attach` says to which.
    """

    def __init__(self, tables: Iterable[Table]) -> None:
        self._tables = tuple(tables)
        self._known: dict[str, Known] = {}
        self._errors = Counter(
            "lakehouse_api_table_read_errors",
            "Scrapes for which the state of a table could not be read",
            ("table",),
            registry=None,
        )
        for table in self._tables:
            self._errors.labels(table.identifier)
        self._attached: tuple[CatalogReader, TableStates, asyncio.AbstractEventLoop] | None = None

    def attach(self, reader: CatalogReader, states: TableStates) -> None:
        """Read by ``reader`` from now on; called in its event loop."""
        self._attached = reader, states, asyncio.get_running_loop()

    def collect(self) -> Iterator[Metric]:
        """Read the state of all tables, and describe it."""
        self._refresh()
        yield from self._gauges(datetime.now(UTC))
        yield from self._errors.collect()

    def describe(self) -> Iterator[Metric]:
        """The same without a value: registering reads nothing."""
        yield from self._gauges(datetime.now(UTC))
        yield from self._errors.collect()

    def _refresh(self) -> None:
        if self._attached is None:
            return
        reader, states, loop = self._attached
        reading = asyncio.run_coroutine_threadsafe(self._read(reader, states), loop)
        try:
            reading.result(PATIENCE_S + 1)
        except TimeoutError:
            # the loop itself is busy, or has ended
            reading.cancel()
            logger.warning("the state of the tables was not read within %g s", PATIENCE_S + 1)
            for table in self._tables:
                self._errors.labels(table.identifier).inc()

    async def _read(self, reader: CatalogReader, states: TableStates) -> None:
        reads = {asyncio.create_task(_known(reader, states, table)): table for table in self._tables}
        done, _ = await asyncio.wait(reads, timeout=PATIENCE_S)
        for read, table in reads.items():
            if read in done and read.exception() is None:
                self._known[table.identifier] = read.result()
                continue
            if read in done and not isinstance(read.exception(), UnavailableError):
                logger.error("the state of %s cannot be read", table.identifier, exc_info=read.exception())
            read.cancel()
            self._errors.labels(table.identifier).inc()

    def _gauges(self, now: datetime) -> Iterator[Metric]:
        lag = _gauge("lag_seconds", "How long ago the newest event of a table is, by its own time")
        age = _gauge("snapshot_age_seconds", "How long ago a table was committed to")
        limit = _gauge(
            "lag_limit_seconds", "Lag from which people are warned, and from which it is a failure", "of"
        )
        quality = _gauge("quality", "1 for what the checks of a table say", "verdict")
        for table in self._tables:
            limit.add_metric((table.identifier, "warning"), table.freshness.warn_after.total_seconds())
            limit.add_metric((table.identifier, "failure"), table.freshness.fail_after.total_seconds())
            known = self._known.get(table.identifier)
            if known is None:
                continue
            reach = reach_at(known.newest, table, now)
            if reach.lag is not None:
                lag.add_metric((table.identifier,), reach.lag.total_seconds())
            if known.committed_at is not None:
                age.add_metric((table.identifier,), max(0.0, (now - known.committed_at).total_seconds()))
            for verdict in WORST_FIRST:
                quality.add_metric((table.identifier, verdict), float(known.verdict == verdict))
        yield from (lag, age, limit, quality)


async def _known(reader: CatalogReader, states: TableStates, declared: Table) -> Known:
    table = await reader.table(declared.identifier)
    snapshot = table.current_snapshot()
    return Known(
        newest=await states.newest(table, declared, snapshot),
        committed_at=None if snapshot is None else datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC),
        verdict=await states.verdict(declared.identifier),
    )


def _gauge(name: str, meaning: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"lakehouse_api_table_{name}", meaning, labels=("table", *labels))
