"""Whether the tables can be read."""

import asyncio
from collections.abc import Sequence

from api.catalog import CatalogReader
from api.health.schemas import Ready
from api.problems import UnavailableError
from contracts import Table


async def readiness(tables: Sequence[Table], reader: CatalogReader) -> Ready:
    """Load every table.

    Raises:
        UnavailableError: some could not be loaded; the message holds each reason once.
    """
    states = await asyncio.gather(*(reader.table(table.identifier) for table in tables), return_exceptions=True)
    failures = [state for state in states if isinstance(state, BaseException)]
    for failure in failures:
        if not isinstance(failure, UnavailableError):
            raise failure
    if failures:
        raise UnavailableError("; ".join(dict.fromkeys(str(failure) for failure in failures)))
    return Ready(tables=len(states))
