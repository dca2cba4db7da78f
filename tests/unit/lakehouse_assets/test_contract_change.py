"""The sensor of changed contracts, ticked against real tables on an ephemeral instance."""

import json
from dataclasses import replace
from datetime import date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from iceberg_on_disk import arrow_rows, plausible_row
from pyiceberg.catalog import Catalog

from contracts import (
    Aggregate,
    Aggregation,
    Column,
    ColumnType,
    Table,
    bronze_events,
    families,
    gold_daily,
    gold_hourly,
    quality_results,
)
from lakehouse_assets.definitions import defs
from lakehouse_assets.describe import table_key
from lakehouse_assets.gold import contract_change as sensor
from resources.catalog import ensure_tables

TRAFFIC = next(member for member in families() if member.name == "traffic")
HOURLY, DAILY = gold_hourly(TRAFFIC), gold_daily(TRAFFIC)
SPREAD = Column(
    "avg_speed_kmh_first", ColumnType.DOUBLE, "First mean speed", unit="km/h", nullable=True,
    aggregation=Aggregation(Aggregate.LAST, "avg_speed_kmh"),
)  # fmt: skip


class Platform:
    """Gold tables with their contracts, which a test changes, and the daemon that ticks the sensor."""

    def __init__(self, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
        self.catalog = catalog
        self.monkeypatch = monkeypatch
        self.instance = dg.DagsterInstance.ephemeral()
        self.mode = "offer"
        self.cursor: str | None = None
        self.declare(HOURLY, DAILY)
        self.tick()

    def declare(self, *tables: Table, version: str = "1") -> None:
        """The contracts from now on, as after a restart of the code location."""
        self.monkeypatch.setattr(sensor, "watched", lambda: [(declared, version) for declared in tables])

    def compute(self, declared: Table, *days: str) -> None:
        rows = []
        for number, day in enumerate(days):
            start = datetime.fromisoformat(f"{day}T00:00:00+00:00")
            rows.append({**plausible_row(declared, number), "window_start": start})
        self.catalog.load_table(declared.identifier).append(arrow_rows(self.catalog, declared, rows))

    def upgrade(self, *tables: Table) -> None:
        ensure_tables(self.catalog, tables, commit_retries=10)

    def tick(self, *, killed: bool = False) -> Any:
        """Tick as the daemon does: store the events, then the cursor unless it is killed before."""
        resources = {"settings": SimpleNamespace(automation_backfill=self.mode), "catalog": self.catalog}
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor, resources=resources)
        result = sensor.contract_change.evaluate_tick(context)
        for event in result.asset_events:
            self.instance.report_runless_asset_event(event)
        if not killed:
            self.cursor = result.cursor
        return result

    def offers(self) -> list[dg.AssetObservation]:
        return [event for event in self.tick().asset_events if isinstance(event, dg.AssetObservation)]

    def requests(self) -> list[tuple[str, str, str]]:
        found = []
        for request in self.tick().run_requests or ():
            [key] = request.asset_selection or ()
            first, last = (request.tags[f"dagster/asset_partition_range_{end}"] for end in ("start", "end"))
            found.append((key.to_user_string(), first, last))
        return found


@pytest.fixture
def platform(disk_catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> Platform:
    return Platform(disk_catalog, monkeypatch)


WIDER = replace(HOURLY, columns=(*HOURLY.columns, SPREAD))


def test_a_column_that_was_added_is_offered_once_with_the_commands(platform: Platform) -> None:
    platform.compute(HOURLY, "2026-03-01", "2026-03-02", "2026-03-05")
    platform.compute(DAILY, "2026-03-01")
    platform.declare(WIDER, DAILY)
    platform.upgrade(WIDER)
    [offer] = platform.offers()
    assert offer.asset_key == table_key(HOURLY)
    assert offer.metadata["changed"].value == f"added {SPREAD.name}"
    assert str(offer.metadata["commands"].value).split("\n") == [
        "    ./lakehouse backfill gold/traffic_hourly --from 2026-03-01 --to 2026-03-02",
        "    ./lakehouse backfill gold/traffic_hourly --from 2026-03-05 --to 2026-03-05",
    ]
    assert platform.offers() == []


def test_the_first_tick_takes_tables_as_they_are(disk_catalog: Catalog, platform: Platform) -> None:
    platform.compute(HOURLY, "2026-03-01")
    platform.declare(WIDER, DAILY)
    platform.upgrade(WIDER)
    platform.cursor = None
    assert platform.offers() == []


def test_a_table_that_lacks_the_column_yet_waits(platform: Platform) -> None:
    platform.compute(HOURLY, "2026-03-01")
    platform.declare(WIDER, DAILY)
    result = platform.tick()
    assert not result.asset_events
    assert result.skip_message == f"`./lakehouse jobs upgrade`: gold.traffic_hourly has no {SPREAD.name} yet"
    platform.upgrade(WIDER)
    assert len(platform.offers()) == 1


def test_another_origin_and_another_query_are_changes_and_a_column_less_is_none(platform: Platform) -> None:
    platform.compute(HOURLY, "2026-03-01")
    platform.declare(replace(HOURLY, columns=HOURLY.columns[:-1]))
    assert platform.offers() == []
    platform.declare(HOURLY)
    assert [offer.metadata["changed"].value for offer in platform.offers()] == [f"added {HOURLY.columns[-1].name}"]
    last = replace(HOURLY.columns[-1], aggregation=Aggregation(Aggregate.MAX, "avg_speed_kmh"))
    changed = replace(HOURLY, columns=(*HOURLY.columns[:-1], last))
    platform.declare(changed)
    assert [offer.metadata["changed"].value for offer in platform.offers()] == [f"changed {last.name}"]
    platform.declare(changed, version="next")
    assert [offer.metadata["changed"].value for offer in platform.offers()] == ["another query"]


def test_another_name_and_another_order_are_no_change(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    platform.compute(HOURLY, "2026-03-01")
    # the measure is renamed, and with it what the family's tables derive from it
    [speed] = [measure for measure in TRAFFIC.measures if measure.name == "avg_speed_kmh"]
    others = [measure for measure in TRAFFIC.measures if measure is not speed]
    speed = replace(speed, name="mean_speed_kmh", formerly=("avg_speed_kmh",))
    family = replace(TRAFFIC, measures=(*others[::-1], speed), rules=())
    renamed, bronze = gold_hourly(family), bronze_events(family)
    monkeypatch.setattr(sensor, "table", lambda identifier: bronze if identifier == bronze.identifier else None)
    assert "mean_speed_kmh_max" in {column.name for column in renamed.columns}
    platform.declare(renamed, DAILY)
    assert platform.offers() == []
    platform.upgrade(renamed)
    assert platform.offers() == []
    other = replace(
        renamed.column("mean_speed_kmh_max"), aggregation=Aggregation(Aggregate.LAST, "mean_speed_kmh")
    )
    columns = [other if column.name == other.name else column for column in renamed.columns]
    platform.declare(replace(renamed, columns=(*columns, SPREAD)), DAILY)
    platform.upgrade(replace(renamed, columns=(*columns, SPREAD)))
    [offer] = platform.offers()
    assert offer.metadata["changed"].value == f"added {SPREAD.name}; changed mean_speed_kmh_max"


def test_a_cursor_of_before_columns_had_earlier_names_is_read(platform: Platform) -> None:
    assert platform.cursor is not None
    stored = json.loads(platform.cursor)
    for meaning in stored["seen"].values():
        del meaning["formerly"]
    platform.cursor = json.dumps(stored)
    platform.compute(HOURLY, "2026-03-01")
    assert platform.offers() == []


def test_a_table_without_rows_has_nothing_to_compute_again(platform: Platform) -> None:
    platform.declare(WIDER)
    platform.upgrade(WIDER)
    assert platform.offers() == []


def test_a_table_that_is_new_has_nothing_to_compute_again(platform: Platform) -> None:
    platform.declare(HOURLY)
    platform.cursor = None
    platform.tick()
    platform.compute(DAILY, "2026-03-01")
    platform.declare(HOURLY, DAILY)
    assert platform.offers() == []


def test_a_daemon_killed_before_it_stored_the_cursor_offers_nothing_twice(platform: Platform) -> None:
    platform.compute(HOURLY, "2026-03-01")
    platform.declare(WIDER, DAILY)
    platform.upgrade(WIDER)
    assert len(platform.tick(killed=True).asset_events) == 1
    platform.instance.report_runless_asset_event(dg.AssetObservation(table_key(DAILY)))
    assert platform.offers() == []


def test_runs_are_started_where_the_setting_says_so(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    platform.mode = "start"
    start = date(2026, 1, 1)
    platform.compute(HOURLY, *(str(start + timedelta(days=n)) for n in range(40)), "2026-05-01")
    platform.declare(WIDER, DAILY)
    platform.upgrade(WIDER)
    monkeypatch.setattr(sensor, "MAX_RUNS_PER_TICK", 2)
    lost, again = ([r.run_key for r in platform.tick(killed=True).run_requests or ()] for _ in range(2))
    assert len(set(lost)) == 2
    assert again == lost
    key = "gold/traffic_hourly"
    assert platform.requests() == [(key, "2026-01-01", "2026-01-31"), (key, "2026-02-01", "2026-02-09")]
    assert platform.requests() == [(key, "2026-05-01", "2026-05-01")]
    assert platform.requests() == []


def test_all_gold_tables_are_watched_and_show_the_version_of_the_query() -> None:
    graph = defs.resolve_asset_graph()
    batch = {node.key for node in graph.asset_nodes if node.key.path[0] == "gold"}
    # what the checks said is computed from no table
    assert {table_key(declared) for declared, _ in sensor.watched()} == batch - {table_key(quality_results())}
    assert all(graph.get(table_key(declared)).code_version == version for declared, version in sensor.watched())
