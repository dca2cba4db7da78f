"""Dagster's daemon on a running stack: it ticks every sensor, and starts the run that late events ask for."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pyarrow as pa
import pytest
from automation import STARTING_SENSORS, sensor_selector, start_sensor, stop_automation
from pyiceberg.catalog import Catalog
from waiting import until

from contracts import ColumnType, Table, bronze_events, families, family, gold_daily, gold_hourly, late_events
from lakehouse_assets.definitions import defs
from resources.catalog import open_catalog
from resources.dagster_client import DagsterClient
from settings import Settings

FAMILY = family("weather")
BRONZE, LATE = bronze_events(FAMILY), late_events(families())
GOLD = (gold_hourly(FAMILY), gold_daily(FAMILY))
DAYS = (date(2001, 6, 1), date(2001, 6, 2))
"""That no stream writes to."""
NO_PARTITION = 99
"""The topic has none of this number: no collector looks for what lies between its offsets."""
LONG_AGO_S = 3600
SENSOR = """
query Sensor($selector: SensorSelector!) {
  sensorOrError(sensorSelector: $selector) {
    ... on Sensor {
      sensorState {
        status
        ticks(limit: 1) { status error { message } }
        typeSpecificData { ... on SensorData { lastCursor } }
      }
    }
  }
}
"""
SET_CURSOR = """
mutation Set($selector: SensorSelector!, $cursor: String) {
  setSensorCursor(sensorSelector: $selector, cursor: $cursor) { __typename }
}
"""
RUNS = """
query Runs($filter: RunsFilter!) {
  runsOrError(filter: $filter) { ... on Runs { results { runId tags { key value } } } }
}
"""


class Daemon:
    """What the daemon knows, through Dagster's GraphQL interface."""

    def __init__(self, url: str) -> None:
        self._url = url

    def _query(self, query: str, **variables: object) -> Any:
        response = httpx.post(f"{self._url}/graphql", json={"query": query, "variables": variables}, timeout=60)
        [answer] = response.raise_for_status().json()["data"].values()
        return answer

    def sensor(self, name: str) -> Any:
        return self._query(SENSOR, selector=sensor_selector(name))["sensorState"]

    def cursor(self, name: str) -> Any:
        text = self.sensor(name)["typeSpecificData"]["lastCursor"]
        return json.loads(text) if text else None

    def set_cursor(self, name: str, cursor: object) -> None:
        done = self._query(SET_CURSOR, selector=sensor_selector(name), cursor=json.dumps(cursor))
        assert done["__typename"] == "Sensor"

    def runs_of(self, sensor: str) -> list[tuple[str, dict[str, str]]]:
        tags = [{"key": "dagster/sensor_name", "value": sensor}]
        runs = self._query(RUNS, filter={"tags": tags})["results"]
        return [(run["runId"], {tag["key"]: tag["value"] for tag in run["tags"]}) for run in runs]


@pytest.fixture(scope="module")
def daemon(settings: Settings) -> Iterator[Daemon]:
    for name in STARTING_SENSORS:
        start_sensor(settings, name)
    yield Daemon(settings.dagster_url)
    stop_automation(settings)


@pytest.fixture
def catalog(settings: Settings) -> Iterator[Catalog]:
    """The catalog, whose days of this test end up as they were: empty."""
    catalog = open_catalog(settings)
    yield catalog
    for declared in (BRONZE, LATE, *GOLD):
        first, end = (f"{day}T00:00:00+00:00" for day in (DAYS[0], DAYS[-1] + timedelta(days=1)))
        column = declared.event_time
        catalog.load_table(declared.identifier).delete(f"{column} >= '{first}' and {column} < '{end}'")


@pytest.mark.parametrize("name", [sensor.name for sensor in defs.sensors or ()])
def test_the_daemon_ticks_the_sensor_without_an_error(daemon: Daemon, name: str) -> None:
    until(lambda: bool(daemon.sensor(name)["ticks"]), f"a tick of {name} that has ended")
    until(lambda: daemon.sensor(name)["ticks"][0]["status"] != "STARTED", f"a tick of {name} that has ended")
    state = daemon.sensor(name)
    assert state["status"] == "RUNNING"
    assert state["ticks"][0]["status"] in {"SUCCESS", "SKIPPED"}, state["ticks"][0]["error"]


def test_late_events_of_closed_days_get_into_gold(settings: Settings, daemon: Daemon, catalog: Catalog) -> None:
    until(lambda: daemon.cursor("late_data") is not None, "a first tick of the sensor")
    for declared in (BRONZE, LATE):
        append(catalog, declared, DAYS)
    until(
        lambda: daemon.cursor("late_data")["pending"].get(FAMILY.name, {}).keys() >= set(map(str, DAYS)),
        "late events seen",
    )
    # as if the pause after them were over: the sensor takes its memory from the cursor alone
    until(lambda: bool(runs_of(daemon)) or age(daemon), "a run for the late events")
    [(run_id, tags)] = runs_of(daemon)
    assert tags["dagster/asset_partition_range_end"] == str(DAYS[-1])
    with DagsterClient(settings.dagster_url) as client:
        client.wait(run_id, timeout_s=300)
    for declared in GOLD:
        rows = (
            catalog.load_table(declared.identifier)
            .scan(selected_fields=("window_start", "event_count"))
            .to_arrow()
        )
        found = {row["window_start"].date(): row["event_count"] for row in rows.to_pylist()}
        assert {day: found.get(day) for day in DAYS} == dict.fromkeys(DAYS, 1)


def runs_of(daemon: Daemon) -> list[tuple[str, dict[str, str]]]:
    """The runs that begin with the first day; other tests send late events, too."""
    first = ("dagster/asset_partition_range_start", str(DAYS[0]))
    return [(run_id, tags) for run_id, tags in daemon.runs_of("late_data") if first in tags.items()]


def age(daemon: Daemon) -> bool:
    """Move what is pending for the days into the past; false, since that is not yet a run."""
    cursor = daemon.cursor("late_data")
    days = cursor["pending"].get(FAMILY.name, {})
    for batch in (days[str(day)] for day in DAYS if str(day) in days):
        batch[0], batch[1] = batch[0] - LONG_AGO_S, batch[1] - LONG_AGO_S
    daemon.set_cursor("late_data", cursor)
    return False


def append(catalog: Catalog, declared: Table, days: tuple[date, ...]) -> None:
    """One row for each day."""
    table = catalog.load_table(declared.identifier)
    values: dict[ColumnType, Any] = {
        ColumnType.STRING: "s", ColumnType.DOUBLE: 1.0, ColumnType.LONG: 1, ColumnType.INT: 1,
    }  # fmt: skip
    rows = []
    for offset, day in enumerate(days):
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
        row = {column.name: values.get(column.type, noon) for column in declared.columns}
        for column in declared.columns:
            if column.minimum is not None and row[column.name] < column.minimum:
                row[column.name] = type(row[column.name])(column.minimum)
        row |= {"event_id": str(day), "kafka_partition": NO_PARTITION, "kafka_offset": offset}
        rows.append(row | ({"family": FAMILY.name} if declared is LATE else {}))
    table.append(pa.Table.from_pylist(rows, schema=table.schema().as_arrow()))
