"""How files are cut: a read of little reads little."""

from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog

from benchmarks.large_table import Layout, file_rows
from benchmarks.stand_in import STAND_IN
from resources.catalog import ensure_tables

MOST_ROWS = 32_768


def test_a_file_of_many_rows_has_row_groups_that_differ_in_their_sensors(tmp_path: Path) -> None:
    catalog = SqlCatalog("lakehouse", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}")
    ensure_tables(catalog, [STAND_IN], commit_retries=1)
    table = catalog.load_table(STAND_IN.identifier)
    table.append(file_rows(Layout(100_000, 1), 0))
    [task] = table.scan().plan_files()
    written = pq.read_metadata(task.file.file_path.removeprefix("file://"))
    groups = [written.row_group(index) for index in range(written.num_row_groups)]
    assert max(group.num_rows for group in groups) <= MOST_ROWS
    position = written.schema.names.index("sensor_id")
    bounds = [group.column(position).statistics for group in groups]
    assert len(bounds) == 4
    for earlier, later in pairwise(bounds):
        assert earlier.max <= later.min
