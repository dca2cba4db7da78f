"""The API over a table of a benchmark: it stands where :data:`SHOWN_AS` does, whose own rows stay as they are."""

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from api.worker import start
from contracts import bronze_events, family
from settings import Settings

if TYPE_CHECKING:
    # what a start takes is measured, and imports are most of it
    from fastapi import FastAPI
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table as IcebergTable

FAMILY = family("traffic")
SHOWN_AS = bronze_events(FAMILY)
"""What the API calls it."""
STAND_IN = replace(SHOWN_AS, name=f"bench_api_{SHOWN_AS.name}")
"""The table itself."""


class _Catalog:
    """What the API asks of a catalog."""

    def __init__(self, catalog: "Catalog") -> None:
        self._catalog = catalog

    def load_table(self, identifier: str) -> "IcebergTable":
        """Load the table of that name, or what stands in for it."""
        return self._catalog.load_table(STAND_IN.identifier if identifier == SHOWN_AS.identifier else identifier)


def create_worker() -> "FastAPI":
    """The application in a worker of a server, as :func:`api.worker.create_worker` makes it."""
    return start(catalog_factory=_open)


def _open(settings: Settings) -> "Catalog":
    from resources.catalog import open_catalog

    return cast("Catalog", _Catalog(open_catalog(settings)))
