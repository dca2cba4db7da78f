"""A table is loaded in full when it has changed, and only then; each load is of the table as it is."""

import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog.rest import SNAPSHOT_LOADING_MODE, RestCatalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table

from resources import table_loader
from resources.table_loader import TableLoader

NAME = "silver.values"
ROWS = pa.table({"value": [1, 2, 3]})


class Rest(RestCatalog):
    """A REST catalog without a network: its tables are those of another, and each load is noted with its mode."""

    behind: SqlCatalog
    loads: list[str]

    def __init__(self, name: str, **properties: str) -> None:
        self.name, self.properties = name, properties

    def load_table(self, identifier: Any) -> Table:
        self.loads.append(self.properties.get(SNAPSHOT_LOADING_MODE, "all"))
        return self.behind.load_table(identifier)


@pytest.fixture
def catalog(tmp_path: Path) -> SqlCatalog:
    catalog = SqlCatalog("behind", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}")
    catalog.create_namespace("silver")
    catalog.create_table(NAME, ROWS.schema)
    return catalog


@pytest.fixture
def rest(catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch) -> Rest:
    monkeypatch.setattr(Rest, "behind", catalog, raising=False)
    monkeypatch.setattr(Rest, "loads", [], raising=False)
    return Rest("of-this-test")


def test_a_table_that_has_not_changed_is_only_looked_at(rest: Rest) -> None:
    loader = TableLoader(rest)
    first = loader.load(NAME)
    assert all(loader.load(NAME) is first for _ in range(3))
    assert rest.loads == ["all", "refs", "refs", "refs"]


def test_each_commit_is_seen_by_the_next_load(rest: Rest, catalog: SqlCatalog) -> None:
    loader = TableLoader(rest)
    for commits in range(1, 4):
        catalog.load_table(NAME).append(ROWS)
        found = loader.load(NAME)
        assert len(found.metadata.snapshots) == commits
        assert found.current_snapshot() == catalog.load_table(NAME).current_snapshot()
    assert rest.loads == ["all", "refs", "all", "refs", "all"]


def test_a_table_that_was_made_anew_is_another(rest: Rest, catalog: SqlCatalog) -> None:
    loader = TableLoader(rest)
    before = loader.load(NAME)
    catalog.drop_table(NAME)
    with pytest.raises(NoSuchTableError):
        loader.load(NAME)
    catalog.create_table(NAME, ROWS.schema)
    assert loader.load(NAME).metadata.table_uuid != before.metadata.table_uuid


def test_what_comes_with_a_table_is_renewed(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = TableLoader(rest)
    monkeypatch.setattr(table_loader, "FULL_AFTER_S", 0.0)
    assert loader.load(NAME) is not loader.load(NAME)
    assert rest.loads == ["all", "all"]


def test_a_catalog_that_hangs_once_does_not_hang_who_comes_later(
    rest: Rest, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, let_go = threading.Event(), threading.Event()
    opened = table_loader._without_history

    def hanging(catalog: RestCatalog) -> RestCatalog:
        hangs.set()
        let_go.wait()
        return opened(catalog)

    loader = TableLoader(rest)
    first = loader.load(NAME)
    monkeypatch.setattr(table_loader, "_without_history", hanging)
    waiting = threading.Thread(target=loader.load, args=(NAME,), daemon=True)
    waiting.start()
    hangs.wait()
    monkeypatch.setattr(table_loader, "_without_history", opened)
    later: list[Table] = []
    another = threading.Thread(target=lambda: later.append(loader.load(NAME)), daemon=True)
    another.start()
    another.join(timeout=20)
    answered = list(later)
    let_go.set()
    waiting.join()
    assert answered == [first]


def test_other_catalogs_are_asked_each_time(catalog: SqlCatalog) -> None:
    loader = TableLoader(catalog)
    loader.load(NAME)
    catalog.load_table(NAME).append(ROWS)
    assert loader.load(NAME).current_snapshot() is not None
