"""Fixtures of the tests of the code location."""

from pathlib import Path

import pytest
from iceberg_on_disk import open_disk_catalog
from pyiceberg.catalog import Catalog


@pytest.fixture
def disk_catalog(tmp_path: Path) -> Catalog:
    return open_disk_catalog(tmp_path)
