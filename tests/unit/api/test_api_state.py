"""Each answer says how far what it is read from reaches, what the checks say, and how long it may be kept."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from pyiceberg.catalog.sql import SqlCatalog

import api.rows.answers
import api.tables.states
from api.app import create_app
from contracts import family, quality_results, served_tables, silver_5m
from resources.catalog import ensure_tables
from settings import Settings
from tests.unit.api.conftest import KEY

pytestmark = pytest.mark.usefixtures("_commits_are_seen_at_once")

NAME = "gold.energy_hourly"
WINDOWS = silver_5m(family("energy")).identifier
ROWS, AGGREGATE = f"/v1/tables/{NAME}/rows", f"/v1/tables/{NAME}/aggregate"
NEWEST = datetime(2026, 3, 1, 8, tzinfo=UTC)
REACHES = "2026-03-01T09:00:00Z"
NOW = NEWEST + timedelta(hours=1, milliseconds=1234)
STATE_HEADERS = ("Lakehouse-Snapshot-Id", "Lakehouse-Reaches", "Lakehouse-Freshness-Ms", "Lakehouse-Quality")
FIELDS = ("snapshot_id", "reaches", "freshness_ms", "quality")
MINUTE = timedelta(minutes=1)


class Clock:
    now = NOW


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time at which requests are answered."""
    clock = Clock()
    for module in (api.tables.states, api.rows.answers):
        monkeypatch.setattr(module, "utc_now", lambda: clock.now)
    return clock


@pytest.fixture(scope="module")
def own_client(settings: Settings, own_catalog: SqlCatalog) -> Iterator[TestClient]:
    app = create_app(settings, catalog_factory=lambda _: own_catalog)
    with TestClient(app, headers={"X-API-Key": KEY}) as client:
        yield client


def append(catalog: SqlCatalog, identifier: str, *rows: dict[str, Any]) -> str:
    """Commit rows, and return the snapshot."""
    loaded = catalog.load_table(identifier)
    loaded.append(pa.Table.from_pylist(list(rows), schema=loaded.schema().as_arrow()))
    snapshot = catalog.load_table(identifier).current_snapshot()
    assert snapshot is not None
    return str(snapshot.snapshot_id)


def hour(start: datetime) -> dict[str, Any]:
    return {
        "sensor_id": "energy-1",
        "window_start": start,
        "window_end": start + timedelta(hours=1),
        "event_count": 1,
    }


@pytest.fixture(scope="module")
def snapshots(own_catalog: SqlCatalog) -> list[str]:
    """Snapshots of the table, the newest last: the second has older hours, but none that is newer."""
    evaluation = {"table_name": NAME, "check_name": "contract", "passed": False, "severity": "WARN"}
    append(own_catalog, quality_results().identifier, evaluation | {"checked_at": datetime.now(UTC)})
    append(own_catalog, WINDOWS, {
        "zone": "centre", "window_start": NEWEST, "window_end": NEWEST + 5 * MINUTE, "event_count": 1,
    })  # fmt: skip
    starts = (NEWEST - timedelta(hours=2), NEWEST - timedelta(days=9), NEWEST)
    return [append(own_catalog, NAME, hour(start)) for start in starts]


@pytest.mark.parametrize("path", [ROWS, AGGREGATE])
def test_envelope_and_headers_say_the_same(
    own_client: TestClient, snapshots: list[str], clock: Clock, path: str
) -> None:
    answer = own_client.get(path).raise_for_status()
    expected = [snapshots[-1], REACHES, 1234, "warned"]
    assert [answer.json()[name] for name in FIELDS] == expected
    assert [answer.headers[name] for name in STATE_HEADERS] == list(map(str, expected))


@pytest.mark.parametrize("format_", ["csv", "ndjson", "parquet", "arrow"])
def test_formats_without_an_envelope_have_the_headers(
    own_client: TestClient, snapshots: list[str], clock: Clock, format_: str
) -> None:
    answer = own_client.get(ROWS, params={"format": format_}).raise_for_status()
    assert [answer.headers[name] for name in STATE_HEADERS] == [snapshots[-1], REACHES, "1234", "warned"]


def test_an_older_snapshot_reaches_as_far_as_it_did(
    own_client: TestClient, snapshots: list[str], clock: Clock
) -> None:
    for snapshot in snapshots[:2]:
        found = own_client.get(ROWS, params={"as_of": snapshot}).json()
        assert (found["reaches"], found["freshness_ms"]) == ("2026-03-01T07:00:00Z", 7_201_234)


@pytest.mark.usefixtures("snapshots")
def test_what_is_ahead_of_the_clock_is_not_of_negative_age(own_client: TestClient, clock: Clock) -> None:
    clock.now = NEWEST + timedelta(minutes=20)
    found = own_client.get(ROWS).json()
    assert (found["reaches"], found["freshness_ms"]) == ("2026-03-01T08:20:00Z", 0)


def test_an_empty_table_has_none(own_client: TestClient) -> None:
    answer = own_client.get("/v1/tables/gold.energy_daily/rows").raise_for_status()
    assert [answer.json()[name] for name in FIELDS] == [None] * 4
    assert [answer.headers[name] for name in STATE_HEADERS] == ["none"] * 4


@pytest.mark.parametrize("format_", ["json", "csv"])
@pytest.mark.usefixtures("snapshots")
def test_a_known_answer_says_how_old_it_is_by_now(own_client: TestClient, clock: Clock, format_: str) -> None:
    first = own_client.get(ROWS, params={"format": format_})
    clock.now += timedelta(minutes=2)
    again = own_client.get(ROWS, params={"format": format_}, headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    assert again.headers["ETag"] == first.headers["ETag"]
    assert again.headers["Lakehouse-Freshness-Ms"] == "121234"
    for name in {*STATE_HEADERS, "Cache-Control", "Vary"} - {"Lakehouse-Freshness-Ms"}:
        assert again.headers[name] == first.headers[name]


@pytest.mark.usefixtures("snapshots")
def test_a_tag_is_strong_where_equal_rows_are_equal_bytes(own_client: TestClient, clock: Clock) -> None:
    for format_ in ("json", "csv", "ndjson", "arrow", "parquet"):
        answers = []
        for _ in range(2):
            answers.append(own_client.get(ROWS, params={"format": format_, "order": "window_start"}))
            clock.now += timedelta(seconds=1)
        [tag] = {answer.headers["ETag"] for answer in answers}
        assert tag.startswith('"') == (answers[0].content == answers[1].content), format_


DAY = {"from": "2026-03-01T00:00:00Z", "to": "2026-03-02T00:00:00Z"}
REVALIDATE, CLOSED, FOR_EVER = "private, no-cache", "private, max-age=300", "private, max-age=86400, immutable"


@pytest.mark.parametrize(
    ("now", "asked", "expected"),
    [
        ("2026-03-03T12:00:00+00:00", {}, REVALIDATE),
        ("2026-03-03T12:00:00+00:00", {"from": DAY["from"]}, REVALIDATE),
        ("2026-03-03T12:00:00+00:00", DAY, CLOSED),
        ("2026-03-03T12:00:00+00:00", {"to": "2026-03-01T07:30:00Z"}, CLOSED),
        ("2026-03-03T12:00:00+00:00", {"to": "2026-03-03T00:00:00Z"}, CLOSED),
        ("2026-03-03T12:00:00+00:00", {"to": "2026-03-03T00:00:00.000001Z"}, REVALIDATE),
        # a day is closed two hours after its end
        ("2026-03-02T01:59:59+00:00", DAY, REVALIDATE),
        ("2026-03-02T02:00:00+00:00", DAY, CLOSED),
        ("2026-03-01T12:00:00+00:00", DAY, REVALIDATE),
    ],
)
@pytest.mark.usefixtures("snapshots")
def test_an_answer_may_be_kept_while_its_days_are_closed(
    own_client: TestClient, clock: Clock, now: str, asked: dict[str, str], expected: str
) -> None:
    clock.now = datetime.fromisoformat(now)
    for path in (ROWS, AGGREGATE):
        assert own_client.get(path, params=asked).headers["Cache-Control"] == expected


def test_an_answer_from_a_snapshot_that_stays_may_be_kept(
    own_client: TestClient, own_catalog: SqlCatalog, snapshots: list[str]
) -> None:
    loaded = own_catalog.load_table(NAME)
    loaded.manage_snapshots().create_tag(int(snapshots[0]), "kept").commit()
    instants = {
        entry.snapshot_id: datetime.fromtimestamp(entry.timestamp_ms / 1000, UTC) for entry in loaded.history()
    }
    before_last = instants[int(snapshots[1])].isoformat()
    cursor = own_client.get(ROWS, params={"order": "window_start", "limit": 1}).json()["next_cursor"]
    for asked, expected in (
        ({"as_of": snapshots[0]}, FOR_EVER),
        ({"as_of": snapshots[-1]}, FOR_EVER),
        ({"as_of": before_last}, FOR_EVER),
        # another commit may come that is older than the instant
        ({"as_of": datetime.now(UTC).isoformat()}, REVALIDATE),
        # a tag may be moved
        ({"as_of": "kept"}, REVALIDATE),
        ({"order": "window_start", "limit": "1", "cursor": cursor}, FOR_EVER),
    ):
        answer = own_client.get(ROWS, params=asked).raise_for_status()
        assert answer.headers["Cache-Control"] == expected, asked


def test_an_object_store_that_is_away_does_not_take_a_known_answer_away(
    settings: Settings,
    own_client: TestClient,
    own_catalog: SqlCatalog,
    snapshots: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tag = own_client.get(ROWS).headers["ETag"]

    def unreadable(*_: object, **__: object) -> None:
        raise OSError("network connection")

    monkeypatch.setattr(api.tables.states, "newest_event_time_in", unreadable)
    monkeypatch.setattr(api.tables.states, "read_quality", unreadable)
    app = create_app(settings, catalog_factory=lambda _: own_catalog)
    with TestClient(app, headers={"X-API-Key": KEY}) as client:
        known = client.get(ROWS, headers={"If-None-Match": tag})
        tables = client.get("/v1/tables").raise_for_status().json()["tables"]
    assert known.status_code == 304
    assert [known.headers[name] for name in STATE_HEADERS] == [snapshots[-1], "none", "none", "none"]
    [listed] = [each for each in tables if each["identifier"] == NAME]
    assert (listed["snapshot_id"], listed["reach"], listed["quality"]) == (snapshots[-1], None, None)


def test_without_the_table_of_results_there_is_no_verdict(settings: Settings, tmp_path: Any) -> None:
    catalog = SqlCatalog("own", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}")
    declared = [table for table in served_tables() if table.identifier == NAME]
    ensure_tables(catalog, declared, commit_retries=settings.commit_retries)
    append(catalog, NAME, hour(NEWEST))
    with TestClient(create_app(settings, catalog_factory=lambda _: catalog), headers={"X-API-Key": KEY}) as client:
        answer = client.get(ROWS).raise_for_status().json()
    assert (answer["reaches"], answer["quality"]) == (REACHES, None)


@pytest.mark.usefixtures("snapshots")
def test_tables_and_windows_say_it_too(own_client: TestClient, clock: Clock) -> None:
    expected = {"reaches": REACHES, "lag_s": 1.234, "staleness": "fresh"}
    listed = {each["identifier"]: each for each in own_client.get("/v1/tables").json()["tables"]}
    for described in (listed[NAME], own_client.get(f"/v1/tables/{NAME}").json()):
        assert (described["reach"], described["quality"]) == (expected, "warned")
    assert listed["gold.energy_daily"]["reach"] == {"reaches": None, "lag_s": None, "staleness": "empty"}
    answer = own_client.get("/v1/energy/windows").raise_for_status()
    assert [answer.json()[name] for name in FIELDS[1:]] == ["2026-03-01T08:05:00Z", 55 * 60_000 + 1234, None]
    assert [answer.headers[name] for name in STATE_HEADERS[1:]] == ["2026-03-01T08:05:00Z", "3301234", "none"]
    assert answer.headers["Lakehouse-Snapshot-Id"] == answer.json()["snapshot_id"]
    assert answer.headers["Cache-Control"] == REVALIDATE
