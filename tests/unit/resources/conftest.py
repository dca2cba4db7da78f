"""Fixtures of the tests of tables."""

from pathlib import Path

import pytest
from hourly_on_disk import HourlyTable


@pytest.fixture
def hourly(tmp_path: Path) -> HourlyTable:
    return HourlyTable(tmp_path)
