"""A large table of events as maintenance leaves closed days: sorted files, each of some sensors of a day."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.io.pyarrow import _dataframe_to_data_files
from pyiceberg.table import Table as IcebergTable

from benchmarks.stand_in import FAMILY, STAND_IN
from contracts import LakehouseError
from resources.catalog import ensure_tables
from resources.iceberg_schema import iceberg_schema

FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)
FILES_A_DAY = 10
READINGS_A_DAY = 400
"""Of one sensor."""
FILES_A_COMMIT = 50
SEED = 20260101
BYTES_A_ROW = 50
"""More than a row takes in Parquet."""
ROWS_PROPERTY, FILES_PROPERTY = "bench.rows", "bench.files"
"""Properties of a table that is whole."""

_DAY_US = 24 * 3_600_000_000

Progress = Callable[[int], None]
"""Takes how many files are done."""


class LargeTableError(LakehouseError):
    """There is no room for the table."""


@dataclass(frozen=True, slots=True)
class Layout:
    """``files`` files of equally many rows, together about ``wanted`` of them."""

    wanted: int
    files: int

    @property
    def sensors_a_file(self) -> int:
        """Sensors that have all their readings of a day in one file."""
        return max(1, self.wanted // self.files // READINGS_A_DAY)

    @property
    def readings(self) -> int:
        """Of one sensor on one day."""
        return max(1, self.wanted // self.files // self.sensors_a_file)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.files * self.sensors_a_file * self.readings

    @property
    def days(self) -> int:
        """Days that have rows."""
        return -(-self.files // FILES_A_DAY)

    def sensor(self, file: int, number: int) -> str:
        """One of the sensors of a file."""
        return _sensor(file % FILES_A_DAY * self.sensors_a_file + number)

    def day(self, file: int) -> datetime:
        """First instant of the day that the file is of."""
        return FIRST_DAY + timedelta(days=file // FILES_A_DAY)


def ensure_large_table(catalog: Catalog, layout: Layout, commit_retries: int, progress: Progress) -> IcebergTable:
    """Return the table with the rows of ``layout``; one of another layout, or half a one, is made anew."""
    ensure_tables(catalog, (STAND_IN,), commit_retries=commit_retries)
    table = catalog.load_table(STAND_IN.identifier)
    if (table.properties.get(ROWS_PROPERTY), table.properties.get(FILES_PROPERTY)) == _properties(layout):
        progress(layout.files)
        return table
    if table.current_snapshot() is not None:
        drop_large_table(catalog)
        ensure_tables(catalog, (STAND_IN,), commit_retries=commit_retries)
        table = catalog.load_table(STAND_IN.identifier)
    for first in range(0, layout.files, FILES_A_COMMIT):
        with table.transaction() as transaction, transaction.update_snapshot().fast_append() as snapshot:
            for file in range(first, min(first + FILES_A_COMMIT, layout.files)):
                rows = file_rows(layout, file)
                for written in _dataframe_to_data_files(table.metadata, rows, table.io):
                    snapshot.append_data_file(written)
                progress(file + 1)
    rows_, files = _properties(layout)
    with table.transaction() as transaction:
        transaction.set_properties({ROWS_PROPERTY: rows_, FILES_PROPERTY: files})
    return table


def drop_large_table(catalog: Catalog) -> None:
    """Remove the table with its files."""
    if catalog.table_exists(STAND_IN.identifier):
        catalog.purge_table(STAND_IN.identifier)


def check_room(home: Path, layout: Layout) -> None:
    """Whether the table and a copy of it, which DuckDB reads, fit on the disk.

    Raises:
        LargeTableError: they do not.
    """
    needed, free = 2 * BYTES_A_ROW * layout.rows, shutil.disk_usage(home).free
    if needed > free:
        raise LargeTableError(
            f"{layout.rows:,} rows take up to {needed >> 30} GiB, and {free >> 30} GiB are free in {home}: "
            "measure with fewer --rows, or make room"
        )


def file_rows(layout: Layout, file: int) -> pa.Table:
    """The rows of a file, by sensor and time; the same each time."""
    rng = np.random.default_rng([SEED, file])
    sensors, readings = layout.sensors_a_file, layout.readings
    total = sensors * readings
    spacing = _DAY_US // readings
    start = int(layout.day(file).timestamp()) * 1_000_000
    times = start + np.tile(np.arange(readings) * spacing, sensors) + rng.integers(0, spacing, total)
    sensor = np.repeat(np.arange(sensors), readings) + file % FILES_A_DAY * sensors
    numbers = file * total + np.arange(total)
    zones = pa.array(FAMILY.zones)
    instants = pa.array(times).cast(pa.timestamp("us", tz="UTC"))
    names = pa.array([_sensor(number) for number in range(sensor[0], sensor[-1] + 1)])
    partitions = FAMILY.topic_partitions
    columns = {
        "event_id": pc.binary_join_element_wise("bench", pc.cast(pa.array(numbers), pa.string()), "-"),
        "sensor_id": names.take(pa.array(sensor - sensor[0])),
        "event_time": instants,
        "zone": zones.take(pa.array(sensor % len(zones))),
        "latitude": pa.array(52.3 + sensor % 1000 / 2500),
        "longitude": pa.array(13.1 + sensor % 997 / 2500),
        "vehicle_count": pa.array(rng.integers(0, 60, total)),
        "avg_speed_kmh": pa.array(np.round(rng.uniform(5, 90, total), 1)),
        "occupancy_ratio": pa.array(np.round(rng.uniform(0, 1, total), 3)),
        "kafka_partition": pa.array((sensor % partitions).astype(np.int32)),
        "kafka_offset": pa.array(numbers),
        "kafka_time": instants,
    }
    schema = iceberg_schema(STAND_IN).as_arrow()
    return pa.table(columns).select(schema.names).cast(schema)


def point_queries(layout: Layout, count: int) -> Iterator[tuple[str, datetime, datetime]]:
    """Sensors with an hour of a day that they have readings on, at random; no two alike while there are others."""
    rng = np.random.default_rng([SEED, layout.rows])
    hours = 24 * layout.files * layout.sensors_a_file
    for number in rng.choice(hours, count, replace=count > hours):
        file, rest = divmod(int(number), 24 * layout.sensors_a_file)
        sensor, hour = divmod(rest, 24)
        start = layout.day(file) + timedelta(hours=hour)
        yield layout.sensor(file, sensor), start, start + timedelta(hours=1)


def _sensor(number: int) -> str:
    return f"bench-{number:06d}"


def _properties(layout: Layout) -> tuple[str, str]:
    return str(layout.rows), str(layout.files)
