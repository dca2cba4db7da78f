"""How far tables reach, held against the rows that were written."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table as IcebergTable

from contracts import Table, bronze_events, family, gold_hourly
from lakehouse_assets.freshness_checks import lag_result
from resources.catalog import ensure_tables
from resources.freshness import Staleness, newest_event_time, reach

HOURLY = gold_hourly(family("energy"))
EVENTS = bronze_events(family("traffic"))
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    folder = tmp_path_factory.mktemp("warehouse")
    catalog = SqlCatalog("disk", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    ensure_tables(catalog, [HOURLY, EVENTS], commit_retries=3)
    return catalog


def append(catalog: Catalog, declared: Table, *times: datetime) -> IcebergTable:
    table = catalog.load_table(declared.identifier)
    rows = []
    for number, time in enumerate(times):
        row = {column.name: None for column in declared.columns}
        row |= {
            "event_id": "e",
            "sensor_id": "s",
            "kafka_partition": 0,
            "kafka_offset": number,
            "kafka_time": time,
        }
        row |= {
            "window_start": time,
            "window_end": time + timedelta(hours=1),
            "event_count": 1,
            "event_time": time,
        }
        row |= {name: 0 for name in row if name.endswith("_count")}
        rows.append(row)
    table.append(pa.Table.from_pylist(rows, schema=table.schema().as_arrow()))
    return catalog.load_table(declared.identifier)


@hypothesis_settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.lists(st.datetimes(datetime(1999, 12, 30), datetime(2026, 3, 10)), min_size=1, max_size=4),
        min_size=1,
        max_size=5,
    )
)
def test_the_newest_event_is_found_whatever_was_written_last(
    tmp_path_factory: pytest.TempPathFactory, appends: list[list[datetime]]
) -> None:
    folder = tmp_path_factory.mktemp("warehouse")
    catalog = SqlCatalog("disk", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    ensure_tables(catalog, [EVENTS], commit_retries=3)
    for times in appends:
        table = append(catalog, EVENTS, *(time.replace(tzinfo=UTC) for time in times))
    expected = max(time for times in appends for time in times).replace(tzinfo=UTC)
    assert newest_event_time(table, EVENTS) == expected


def test_old_days_are_not_looked_at(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in range(1, 9):
        table = append(catalog, EVENTS, datetime(2026, 3, day, 8, tzinfo=UTC))
    opened: list[str] = []
    look = type(table.io).new_input
    monkeypatch.setattr(type(table.io), "new_input", lambda io, path: opened.append(path) or look(io, path))
    assert newest_event_time(table, EVENTS) == datetime(2026, 3, 8, 8, tzinfo=UTC)
    assert len([path for path in opened if "-m" in path.rsplit("/", 1)[-1]]) == 1


def test_a_backfill_of_an_old_day_leaves_a_stale_table_stale(catalog: Catalog) -> None:
    append(catalog, HOURLY, NOW - timedelta(days=3))
    table = append(catalog, HOURLY, NOW - timedelta(days=30))
    found = reach(table, HOURLY, NOW)
    assert found.reaches == NOW - timedelta(days=3) + HOUR
    assert found.lag == timedelta(days=3) - HOUR
    assert found.staleness is Staleness.STALE
    result = lag_result(HOURLY, found)
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.ERROR)


@pytest.mark.parametrize(
    ("ago", "staleness", "passed"),
    [
        (timedelta(minutes=-30), Staleness.FRESH, True),  # of the running hour
        (timedelta(hours=3), Staleness.FRESH, True),
        (timedelta(hours=3, seconds=1), Staleness.LATE, False),
        (timedelta(hours=27, seconds=1), Staleness.STALE, False),
    ],
)
def test_the_contract_says_what_is_late(
    catalog: Catalog, ago: timedelta, staleness: Staleness, passed: bool
) -> None:
    found = reach(append(catalog, HOURLY, NOW - ago), HOURLY, NOW)
    assert found.staleness is staleness
    assert found.lag is not None
    assert found.lag >= timedelta(0)
    assert lag_result(HOURLY, found).passed is passed


def test_a_table_without_rows_is_not_late(catalog: Catalog) -> None:
    table = catalog.load_table(HOURLY.identifier)
    assert reach(table, HOURLY, NOW).staleness is Staleness.EMPTY
    written = append(catalog, HOURLY, NOW)
    written.delete()
    found = reach(catalog.load_table(HOURLY.identifier), HOURLY, NOW)
    assert found.staleness is Staleness.EMPTY
    assert lag_result(HOURLY, found).passed
