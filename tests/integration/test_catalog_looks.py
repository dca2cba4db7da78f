"""The stack's catalog sends no history to who only looks whether a table has changed."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.table import Table

from resources.catalog import catalog_properties
from resources.table_loader import TableLoader
from settings import Settings

NAME = "bronze.of_the_table_loader"
ROWS = pa.table({"value": [1, 2, 3]})
COMMITS = 5


class Noting(RestCatalog):
    """Notes how many snapshots each load of a table brought."""

    brought: list[int]

    def load_table(self, identifier: Any) -> Table:
        loaded: Table = super().load_table(identifier)
        self.brought.append(len(loaded.metadata.snapshots))
        return loaded


@pytest.fixture
def catalog(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Noting]:
    monkeypatch.setattr(Noting, "brought", [], raising=False)
    catalog = Noting(settings.catalog_name, **catalog_properties(settings))
    table = catalog.create_table(NAME, ROWS.schema)
    try:
        for _ in range(COMMITS):
            table.append(ROWS)
        yield catalog
    finally:
        catalog.drop_table(NAME)


def test_a_look_brings_the_newest_snapshot_alone_and_sees_a_commit(catalog: Noting) -> None:
    loader = TableLoader(catalog)
    catalog.brought.clear()
    first = loader.load(NAME)
    assert loader.load(NAME) is first
    catalog.load_table(NAME).append(ROWS)
    assert len(loader.load(NAME).metadata.snapshots) == COMMITS + 1
    # in full, a look, the load of this test, a look, in full
    assert catalog.brought == [COMMITS, 1, COMMITS, 1, COMMITS + 1]
