"""Metadata files that a table has left behind: found by what names them, never one that is young or named."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import fs
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table as IcebergTable

from contracts import table
from maintenance.metadata_files import left_behind, remove
from resources.catalog import ensure_tables

DECLARED = table("gold.weather_hourly")
STORE = fs.LocalFileSystem()
LATER = timedelta(hours=1)


@pytest.fixture
def written(tmp_path: Path) -> IcebergTable:
    catalog = SqlCatalog("disk", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}")
    ensure_tables(catalog, [DECLARED], commit_retries=10)
    found = catalog.load_table(DECLARED.identifier)
    for _ in range(3):
        found.append(pa.Table.from_pylist([], found.schema().as_arrow()))
    return found


def folder(written: IcebergTable) -> Path:
    return Path(written.location().removeprefix("file://")) / "metadata"


def test_only_what_nothing_names_is_left_behind(written: IcebergTable) -> None:
    now = datetime.now(UTC)
    current = Path(written.metadata_location.removeprefix("file://"))
    stray = [folder(written) / f"00000-{number}.metadata.json" for number in range(2)]
    for path in stray:
        shutil.copyfile(current, path)
    assert len(written.metadata.metadata_log) >= 3
    found = left_behind(written, STORE, now + LATER)
    assert set(found.paths) == set(map(str, stray))
    assert found.bytes == 2 * current.stat().st_size
    assert left_behind(written, STORE, now - LATER).paths == [], "a commit under way has a file like these"

    stray[0].unlink()
    before = set(folder(written).iterdir())
    remove(found, STORE)
    assert before - set(folder(written).iterdir()) == {stray[1]}
    assert written.refresh().scan().to_arrow().num_rows == 0


def test_a_table_without_a_folder_has_left_nothing_behind(written: IcebergTable) -> None:
    shutil.rmtree(folder(written))
    assert left_behind(written, STORE, datetime.now(UTC)).paths == []
