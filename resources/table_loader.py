"""Tables that are loaded again and again, in full only when they have changed."""

import time
from dataclasses import dataclass

from pyiceberg.catalog import Catalog
from pyiceberg.catalog.rest import SNAPSHOT_LOADING_MODE, RestCatalog
from pyiceberg.table import Table

FULL_AFTER_S = 300.0
"""How long a table whose metadata is the same is not loaded again: credentials that come with it may expire."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    table: Table
    until: float


class TableLoader:
    """Loads tables of a catalog; safe to use from any thread.

    A table that was loaded before is only looked at first, without its history: to read some hundred snapshots
    takes tens of milliseconds, in which other threads hardly run. That is the parameter ``snapshots`` of
    ``loadTable`` in the REST catalog's specification; a catalog that does not know it sends everything.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._loaded: dict[str, _Loaded] = {}
        self._glances: Catalog | None = None

    def load(self, identifier: str) -> Table:
        """The table as it is now. Blocks.

        Raises:
            NoSuchTableError: the catalog does not have it.
            RESTError, OSError: the catalog does not answer.
        """
        known = self._loaded.get(identifier)
        if known is not None and time.monotonic() < known.until and self._is_as_it_was(identifier, known.table):
            return known.table
        table = self._catalog.load_table(identifier)
        self._loaded[identifier] = _Loaded(table, time.monotonic() + FULL_AFTER_S)
        return table

    def _is_as_it_was(self, identifier: str, table: Table) -> bool:
        if not isinstance(self._catalog, RestCatalog):
            return False
        glances = self._glances
        if glances is None:
            # no lock: the catalog may hang, and whoever comes after it does not would wait for ever
            glances = self._glances = _without_history(self._catalog)
        return glances.load_table(identifier).metadata_location == table.metadata_location


def _without_history(catalog: RestCatalog) -> RestCatalog:
    """The same catalog, which loads no snapshots but those that a branch or a tag points at."""
    return type(catalog)(catalog.name, **{**catalog.properties, SNAPSHOT_LOADING_MODE: "refs"})
