"""Iceberg tables for async routes: opened when first asked for, read in a bounded pool of threads."""

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Semaphore
from typing import Annotated, TypeVar

from anyio import CapacityLimiter, fail_after, to_thread
from fastapi import Depends, Request
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError, RESTError
from pyiceberg.table import Table as IcebergTable

from api.deadlines import run_in_thread
from api.problems import RETRY_AFTER_S, UnavailableError
from api.shared import Shared
from api.tracing import span
from contracts import Table
from resources.table_loader import TableLoader
from settings import Settings

METADATA_KEEP_S = 1.0
"""How long a loaded table is used again: far less than the interval between two commits of a stream."""

METADATA_TIMEOUT_S = 10.0
"""How long the catalog may take; its client sets no limit of its own."""

STORAGE_ERRORS = (OSError, RESTError)
"""What PyIceberg raises for a catalog or an object store that does not answer: ``requests`` and pyarrow raise
subclasses of ``OSError``, as does an expired time limit."""

T = TypeVar("T")
U = TypeVar("U")

logger = logging.getLogger(__name__)


class TableNotCreatedError(UnavailableError):
    """A table is declared, but the catalog does not have it."""

    def __init__(self, identifier: str) -> None:
        super().__init__(f"table {identifier} is declared but not created yet: the platform does so as it starts")


class TableBehindContractError(UnavailableError):
    """The contract has gained columns that the catalog's table does not have yet."""

    def __init__(self, identifier: str, columns: Iterable[str]) -> None:
        super().__init__(
            f"table {identifier} does not have {', '.join(columns)} yet: the platform adds columns as it starts"
        )


class CatalogUnavailableError(UnavailableError):
    """The catalog or the object store does not answer."""

    def __init__(self) -> None:
        super().__init__(f"the catalog or the object store does not answer: try again in {RETRY_AFTER_S} s")


class TooManyStreamsError(UnavailableError):
    """As many answers are being streamed as memory is kept for."""

    def __init__(self) -> None:
        super().__init__(
            f"too many answers with limit=all are on their way: try again in {RETRY_AFTER_S} s, or page by cursor"
        )


class CatalogReader:
    """Loads tables and runs blocking reads of them; belongs to one event loop."""

    def __init__(
        self, settings: Settings, open_catalog: Callable[[Settings], Catalog], tables: Iterable[Table]
    ) -> None:
        self._reads = CapacityLimiter(settings.api_read_threads)
        self._timeout_s = settings.api_query_timeout_s
        # apart, so that a health check does not queue behind long reads
        self._loads = CapacityLimiter(settings.api_read_threads)
        self._streams = Semaphore(settings.api_max_streams)
        self._loader = Shared(
            lambda: self._ask(lambda settings: TableLoader(open_catalog(settings)), settings), keep_s=math.inf
        )
        self._tables = {table.identifier: self._shared_table(table.identifier) for table in tables}

    async def table(self, identifier: str) -> IcebergTable:
        """Return the served table ``identifier`` as of about now.

        Raises:
            CatalogUnavailableError: the catalog does not answer.
            TableNotCreatedError: the catalog does not have the table.
        """
        return await self._tables[identifier].get()

    async def read(self, function: Callable[[], T]) -> T:
        """Run ``function``, which reads data files, in one of the threads for that.

        Raises:
            CatalogUnavailableError: the object store does not answer.
            QueryTimeoutError: it took too long, and was stopped.
        """
        try:
            with span("read"):
                return await run_in_thread(function, limiter=self._reads, seconds=self._timeout_s)
        except STORAGE_ERRORS as error:
            logger.warning("a read failed: %s", error)
            raise CatalogUnavailableError from error

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """Hold one of the places for answers that are streamed.

        Raises:
            TooManyStreamsError: there is none.
        """
        if not self._streams.acquire(blocking=False):
            raise TooManyStreamsError
        try:
            yield
        finally:
            self._streams.release()

    def _shared_table(self, identifier: str) -> Shared[IcebergTable]:
        async def load() -> IcebergTable:
            loader = await self._loader.get()
            try:
                return await self._ask(loader.load, identifier)
            except NoSuchTableError as error:
                raise TableNotCreatedError(identifier) from error

        return Shared(load, keep_s=METADATA_KEEP_S)

    async def _ask(self, function: Callable[[U], T], argument: U) -> T:
        try:
            with fail_after(METADATA_TIMEOUT_S):
                return await to_thread.run_sync(function, argument, limiter=self._loads, abandon_on_cancel=True)
        except STORAGE_ERRORS as error:
            logger.warning("the catalog does not answer: %s", error)
            raise CatalogUnavailableError from error


async def _reader(request: Request) -> CatalogReader:
    reader: CatalogReader = request.app.state.reader
    return reader


Reader = Annotated[CatalogReader, Depends(_reader)]
