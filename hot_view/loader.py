"""Keeps the hot view as new as the hot topics: ``python -m hot_view.loader``, supervised like every service."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import redis
from confluent_kafka import Message

from contracts import Family, families
from hot_view.batch import BatchReader
from hot_view.metrics import Metrics
from hot_view.records import Update
from hot_view.source import HotTopics
from hot_view.view import Position, View, ViewLostError
from resources.hot_view import connect
from resources.kafka import KafkaUnavailableError
from resources.service import run_until_terminated
from settings import Settings

METRICS_HOST = "127.0.0.1"
TICK_S = 1.0
"""How often the loader says that it is alive, and looks whether the view is still there."""
PURGED_PER_TICK = 500
"""Members of each family: what Redis does in well under a millisecond."""
SHORTEST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0

T = TypeVar("T")

logger = logging.getLogger("hot-view")


class Stopped(Exception):  # noqa: N818 - it is no error
    """The loader was asked to stop."""


def main() -> None:
    """Run until SIGTERM."""
    run_until_terminated(load)


def load(settings: Settings, stopping: threading.Event) -> None:
    """Keep the view up to date until ``stopping`` is set."""
    metrics = Metrics()
    if settings.hot_view_metrics_port:
        metrics.serve(METRICS_HOST, settings.hot_view_metrics_port)
    Loader(settings, families(), metrics, stopping).run()


class Loader:
    """Reads the hot topics and writes the view, until ``stopping`` is set.

    While Redis takes in a batch, the next one is read: one after the other took twice as long for each.
    """

    def __init__(
        self, settings: Settings, members: Sequence[Family], metrics: Metrics, stopping: threading.Event
    ) -> None:
        self._client = connect(settings)
        self._view = View(self._client)
        self._topics = HotTopics(settings, members)
        self._batches = BatchReader(members, metrics)
        self._metrics = metrics
        self._stopping = stopping
        self._writer = ThreadPoolExecutor(1, "writer")
        self._writing: Future[int] | None = None
        self._purged = {family.name: b"" for family in members}

    def run(self) -> None:
        """Load until stopped; waits for Kafka and for Redis where they are away."""
        try:
            self._start()
            next_tick = 0.0
            while not self._stopping.is_set():
                try:
                    if messages := self._topics.batch():
                        self._load(messages)
                    else:
                        self._wait_until_written()
                    if time.monotonic() >= next_tick:
                        self._wait_until_written()
                        self._tick()
                        next_tick = time.monotonic() + TICK_S
                except ViewLostError:
                    logger.warning("the view is gone from Redis: loading it anew from the beginning of the topics")
                    self._metrics.rebuilds.inc()
                    self._start()
        except Stopped:
            logger.info("stopped")
        finally:
            self._writer.shutdown()
            self._topics.close()
            self._client.close()

    def _start(self) -> None:
        positions = self._persist(self._view.open)
        self._persist(lambda: self._topics.start(positions))
        logger.info("loading from %s", f"{len(positions)} known offsets" if positions else "the beginning")

    def _load(self, messages: Sequence[Message]) -> None:
        updates, positions = self._batches.read(messages)
        self._wait_until_written()
        self._writing = self._writer.submit(self._write, updates, positions)

    def _write(self, updates: Iterable[Update], positions: Mapping[Position, int]) -> int:
        with self._metrics.apply_seconds.time():
            return self._persist(lambda: self._view.apply(updates, positions))

    def _wait_until_written(self) -> None:
        """Wait for the batch that is being written, if there is one.

        Raises:
            ViewLostError: it was not written, the view is gone.
            Stopped: the loader is to stop.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            self._metrics.changes.inc(writing.result())
            self._metrics.batches.inc()

    def _tick(self) -> None:
        self._persist(self._view.check)
        for family, after in self._purged.items():
            self._purged[family] = self._persist(partial(self._view.purge, family, after, PURGED_PER_TICK))
        lags: Counter[str] = Counter()
        for (topic, _), lag in self._topics.lag().items():
            lags[topic] += lag
        for topic, lag in lags.items():
            self._metrics.lag.labels(topic).set(lag)

    def _persist(self, step: Callable[[], T]) -> T:
        """Repeat ``step`` until Redis and Kafka let it succeed.

        Raises:
            Stopped: the loader is to stop.
        """
        pause = SHORTEST_PAUSE_S
        while True:
            try:
                return step()
            except (redis.RedisError, KafkaUnavailableError) as error:
                logger.warning("%s: next try in %.1f s", error, pause)
            if self._stopping.wait(pause):
                raise Stopped
            pause = min(2 * pause, LONGEST_PAUSE_S)


if __name__ == "__main__":
    main()
