"""Recomputing one day reads the files of that day and the columns that the table is made of, once."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyspark.sql import SparkSession

from contracts import bronze_events, family, gold_hourly
from lakehouse_assets.gold.publish import begin_branch
from lakehouse_assets.gold.query import windows_recipe
from lakehouse_assets.gold.recompute import recompute
from resources.branches import publish
from resources.catalog import ensure_tables, open_catalog
from settings import Settings

ENERGY = family("energy")
BRONZE = replace(bronze_events(ENERGY), name="pruning_events")
GOLD = replace(gold_hourly(ENERGY), name="pruning_hourly", derived_from=(BRONZE.identifier,))
FIRST = datetime(2001, 6, 1, tzinfo=UTC)
EVENTS = (11, 23, 37, 41)
"""Of each day, so that a number of rows tells which days were read."""
DAY = 2

NEEDED = {
    "event_id", "sensor_id", "event_time", "zone",
    "active_power_kw", "energy_kwh", "voltage_v", "frequency_hz", "power_factor",
    "kafka_partition", "kafka_offset",
}  # fmt: skip
"""All but the position of the sensor and the time in Kafka."""


@dataclass(frozen=True)
class Scan:
    """One scan of an Iceberg table in a plan that Spark has run."""

    table: str
    columns: frozenset[str]
    files: int
    rows: int


@pytest.fixture
def catalog(settings: Settings) -> Iterator[Catalog]:
    opened = open_catalog(settings)
    ensure_tables(opened, (BRONZE, GOLD), commit_retries=settings.commit_retries)
    yield opened
    for declared in (BRONZE, GOLD):
        opened.purge_table(declared.identifier)


def day(number: int) -> datetime:
    return FIRST + timedelta(days=number)


def events_of(number: int) -> list[dict[str, Any]]:
    values = dict.fromkeys((measure.name for measure in ENERGY.measures), 1.0)
    return [
        {
            "event_id": f"{number}-{event}",
            "sensor_id": "meter",
            "event_time": day(number) + timedelta(minutes=event),
            "zone": "north",
            "latitude": 52.0,
            "longitude": 13.0,
            "kafka_partition": 0,
            "kafka_offset": 100 * number + event,
            "kafka_time": day(number),
        }
        | values
        for event in range(EVENTS[number])
    ]


def run(session: SparkSession, catalog: Catalog, settings: Settings, start: datetime, end: datetime) -> None:
    branch = begin_branch(catalog, GOLD, f"pruning-{start:%d}")
    recompute(
        session,
        catalog,
        settings,
        windows_recipe(GOLD, BRONZE),
        start=start,
        end=end,
        branch=branch,
        run_id="pruning",
    )
    publish(catalog.load_table(GOLD.identifier), branch)


def executions(session: SparkSession) -> int:
    session._jsc.sc().listenerBus().waitUntilEmpty()
    count: int = session._jsparkSession.sharedState().statusStore().executionsCount()
    return count


def scans(session: SparkSession, since: int) -> list[Scan]:
    """Scans of the queries after the first ``since``, with the figures that Spark's own metrics hold."""
    count = executions(session)
    store = session._jsparkSession.sharedState().statusStore()
    listed = store.executionsList()
    found = []
    for execution in (listed.apply(index) for index in range(since, count)):
        values = store.executionMetrics(execution.executionId())
        nodes = store.planGraph(execution.executionId()).allNodes()
        for node in (nodes.apply(index) for index in range(nodes.size())):
            if not node.name().startswith("BatchScan"):
                continue
            metrics = {}
            for metric in (node.metrics().apply(index) for index in range(node.metrics().size())):
                value = values.get(metric.accumulatorId())
                metrics[metric.name()] = value.get() if value.isDefined() else "0"
            described = re.match(r"BatchScan (\S+?)\[(.*?)\]", node.desc())
            assert described, node.desc()
            found.append(
                Scan(
                    table=described[1].partition(".")[2],
                    columns=frozenset(column.partition("#")[0].strip() for column in described[2].split(",")),
                    files=whole_number(metrics["number of result data files"]),
                    rows=whole_number(metrics["number of output rows"]),
                )
            )
    return found


def whole_number(shown: str) -> int:
    return int(shown.replace(",", ""))


def test_one_day_is_read_from_its_own_files_and_only_what_is_needed(
    session: SparkSession, catalog: Catalog, settings: Settings
) -> None:
    bronze = catalog.load_table(BRONZE.identifier)
    for number in range(len(EVENTS)):
        bronze.append(pa.Table.from_pylist(events_of(number), schema=bronze.schema().as_arrow()))

    before = executions(session)
    run(session, catalog, settings, day(0), day(len(EVENTS)))
    of_all = scans(session, before)
    # the figures are those that a scan of everything has, so that smaller ones mean something
    assert [(scan.files, scan.rows) for scan in of_all if scan.table == BRONZE.identifier] == [
        (len(EVENTS), sum(EVENTS))
    ]

    before = executions(session)
    run(session, catalog, settings, day(DAY), day(DAY + 1))
    of_one = scans(session, before)
    assert of_one == [
        Scan(BRONZE.identifier, frozenset(NEEDED), files=1, rows=EVENTS[DAY]),
        Scan(GOLD.identifier, frozenset({"window_start", "event_count"}), files=1, rows=1),
    ]
