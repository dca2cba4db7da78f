"""The API over a table of a benchmark: it stands where :data:`SHOWN_AS` does, whose own rows stay as they are."""

from dataclasses import replace
from typing import TYPE_CHECKING

from api.worker import start
from contracts import bronze_events, family
from settings import Settings

if TYPE_CHECKING:
    # what a start takes is measured, and imports are most of it
    from fastapi import FastAPI
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.typedef import Identifier

FAMILY = family("traffic")
SHOWN_AS = bronze_events(FAMILY)
"""What the API calls it."""
STAND_IN = replace(SHOWN_AS, name=f"bench_api_{SHOWN_AS.name}")
"""The table itself."""


def create_worker() -> "FastAPI":
    """The application in a worker of a server, as :func:`api.worker.create_worker` makes it."""
    return start(catalog_factory=_open)


def _open(settings: Settings) -> "Catalog":
    from pyiceberg.catalog.rest import RestCatalog

    from resources.catalog import catalog_properties

    class WithStandIn(RestCatalog):
        """Loads the table that stands in where the other is asked for."""

        def load_table(self, identifier: "str | Identifier") -> "IcebergTable":
            wanted = STAND_IN.identifier if identifier == SHOWN_AS.identifier else identifier
            loaded: IcebergTable = super().load_table(wanted)
            return loaded

    return WithStandIn(settings.catalog_name, **catalog_properties(settings))
