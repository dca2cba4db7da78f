"""The API over a table of a benchmark: it stands where :data:`SHOWN_AS` does, whose own rows stay as they are."""

from dataclasses import replace
from typing import cast

from fastapi import FastAPI
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table as IcebergTable

from api.app import create_app
from api.logs import write_json_lines
from contracts import bronze_events, family
from resources.catalog import open_catalog
from resources.service import end_with_parent
from settings import Settings

FAMILY = family("traffic")
SHOWN_AS = bronze_events(FAMILY)
"""What the API calls it."""
STAND_IN = replace(SHOWN_AS, name=f"bench_api_{SHOWN_AS.name}")
"""The table itself."""


class _Catalog:
    """What the API asks of a catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def load_table(self, identifier: str) -> IcebergTable:
        """Load the table of that name, or what stands in for it."""
        return self._catalog.load_table(STAND_IN.identifier if identifier == SHOWN_AS.identifier else identifier)


def create_worker() -> FastAPI:
    """The application in a worker of a server, as :func:`api.app.create_worker` makes it."""
    end_with_parent()
    write_json_lines()
    return create_app(catalog_factory=_open, serve_metrics=True)


def _open(settings: Settings) -> Catalog:
    return cast(Catalog, _Catalog(open_catalog(settings)))
