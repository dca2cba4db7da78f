"""All that a process of the API remembers."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot

from api.caching.answers import Answers
from api.caching.batches import Batches
from api.caching.file_lists import FileLists
from api.caching.flights import Flights
from api.caching.metrics import CacheMetrics
from api.caching.shared_answers import SharedAnswers, connect_answers
from api.caching.source import Source
from settings import Settings


@dataclass(frozen=True, slots=True)
class Caches:
    """The caches of one process; belongs to one event loop."""

    file_lists: FileLists
    batches: Batches
    answers: Answers
    flights: Flights
    code: str
    """Stands for the program: answers that another version of it left in Redis are not its own."""

    def source(self, table: IcebergTable, snapshot: Snapshot | None) -> Source:
        """``snapshot`` of ``table``, to be read."""
        return Source(table, snapshot, self.file_lists, self.batches)

    def name(self, table: IcebergTable, snapshot: Snapshot | None, *others: str) -> str:
        """A name for what is read from a snapshot, by today's schema, as ``others`` say."""
        snapshot_id = None if snapshot is None else snapshot.snapshot_id
        parts = (
            self.code, table.metadata.table_uuid.hex, str(snapshot_id), str(table.schema().schema_id), *others
        )  # fmt: skip
        # lengths, so that no two lists of parts read the same
        written = "".join(f"{len(part)}:{part}" for part in parts)
        return hashlib.sha256(written.encode(errors="surrogatepass")).hexdigest()


@asynccontextmanager
async def open_caches(settings: Settings, metrics: CacheMetrics) -> AsyncIterator[Caches]:
    """Empty caches of the sizes in ``settings``."""
    shared = SharedAnswers(connect_answers(settings), settings.api_shared_answer_cache, metrics)
    flights = Flights(metrics.joined)
    try:
        yield Caches(
            file_lists=FileLists(settings.api_file_list_cache, metrics.of("file_lists")),
            batches=Batches(settings.api_batch_cache, metrics.of("batches")),
            answers=Answers(settings.api_answer_cache, metrics.of("answers"), shared, flights),
            flights=flights,
            code=_code(),
        )
    finally:
        await shared.close()


def _code() -> str:
    """A hash of the API's modules."""
    digest = hashlib.sha256()
    for module in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(module.read_bytes())
    return digest.hexdigest()


async def _caches(request: Request) -> Caches:
    caches: Caches = request.app.state.caches
    return caches


Remembered = Annotated[Caches, Depends(_caches)]
