"""Redis that is killed, or that hangs, and comes back: what the tables answer in its place."""

import asyncio
import itertools
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import aclosing, suppress
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
import redis
from fastapi.testclient import TestClient
from pyiceberg.catalog.sql import SqlCatalog

from api.app import create_app
from api.latest import newest, reader
from api.latest.reader import HotViewReader, HotViewUnavailableError
from api.latest.schemas import latest_model, sensor_model
from contracts import bronze_events, quality_results, silver_5m
from hot_view.view import View
from resources.hot_view import connect, connect_async, connect_async_once
from settings import Settings
from tests.unit.api.live_values import KEY, TRAFFIC, instant, minute, now, problem, reading, this_minute, until
from tests.unit.hot_view.valkey_server import running_valkey, valkey_settings

BRONZE, SILVER = bronze_events(TRAFFIC), silver_5m(TRAFFIC)
ZONES = ("north", "centre", None)
MINUTE = timedelta(minutes=1)


def rows_of_sensors(pick: random.Random) -> list[dict[str, Any]]:
    """Events of the last twenty minutes, some at the same instant, of sensors that fall silent and that move."""
    newest_event = now().replace(microsecond=0) - timedelta(seconds=20)
    silent = {"t-0": 16 * MINUTE, "t-1": 14 * MINUTE}
    rows = []
    for number in range(600):
        sensor = f"t-{pick.randrange(12)}"
        age = max(pick.randrange(1200) * timedelta(seconds=1), silent.get(sensor, timedelta(0)))
        rows.append(
            {
                "event_id": f"e-{number}",
                "sensor_id": sensor,
                "event_time": newest_event - age,
                "zone": pick.choice(ZONES),
                "latitude": 52.5,
                "longitude": None,
                "vehicle_count": pick.randrange(9),
                "avg_speed_kmh": pick.choice([45.25, None]),
                "occupancy_ratio": 0.1,
                "kafka_partition": number % 3,
                "kafka_offset": number // 3,
                "kafka_time": newest_event,
            }
        )
    rows.sort(key=lambda row: row["event_time"])
    return rows


def windows_of_zones(end: datetime) -> list[dict[str, Any]]:
    rows = []
    for zone, age in itertools.product((*ZONES, "silent"), range(6)):
        start = end - (age + 5 + (20 if zone == "silent" else 0)) * MINUTE
        row = {"zone": zone, "window_start": start, "window_end": start + 5 * MINUTE, "event_count": age + 1}
        for measure in TRAFFIC.measures:
            row |= {f"{measure.name}_{name}": age for name in ("count", "min", "max", "mean")}
        rows.append(row)
    return rows


def append(catalog: SqlCatalog, table: str, rows: list[dict[str, Any]]) -> None:
    opened = catalog.load_table(table)
    schema = opened.schema().as_arrow()
    opened.append(pa.Table.from_pylist(rows).select(schema.names).cast(schema))


@pytest.fixture(scope="module")
def rows(own_catalog: SqlCatalog) -> list[dict[str, Any]]:
    """What is in bronze, in forty files; windows are in silver."""
    rows = rows_of_sensors(random.Random(11))
    for first in range(0, len(rows), 15):
        append(own_catalog, BRONZE.identifier, rows[first : first + 15])
    evaluation = {"table_name": BRONZE.identifier, "check_name": "audit", "passed": False, "severity": "WARN"}
    results = own_catalog.load_table(quality_results().identifier)
    checked = [evaluation | {"checked_at": now()}]
    results.append(pa.Table.from_pylist(checked, schema=results.schema().as_arrow()))
    append(own_catalog, SILVER.identifier, windows_of_zones(this_minute()))
    return rows


@pytest.fixture
def away(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings that name a server that does not run."""
    return valkey_settings(tmp_path_factory.mktemp("away"), api_key=KEY["X-API-Key"])


@pytest.fixture
def client(away: Settings, own_catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    # commits are seen at once
    monkeypatch.setattr("api.catalog.METADATA_KEEP_S", 0.0)
    with TestClient(create_app(away, catalog_factory=lambda _: own_catalog), headers=KEY) as client:
        yield client


def expected(rows: list[dict[str, Any]], since: datetime) -> dict[str, dict[str, Any]]:
    """The newest row of each sensor that has one since then."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        best = found.get(row["sensor_id"])
        if row["event_time"] >= since and (best is None or place(row) > place(best)):
            found[row["sensor_id"]] = row
    return found


def place(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["event_time"], row["kafka_offset"], row["kafka_partition"]


def written(row: dict[str, Any]) -> dict[str, Any]:
    return {name: instant(value) if isinstance(value, datetime) else value for name, value in row.items()}


def test_the_newest_rows_of_the_tables_are_answered(client: TestClient, rows: list[dict[str, Any]]) -> None:
    answer = client.get("/v1/traffic/latest", params={"limit": 300})
    found = latest_model(TRAFFIC).model_validate_json(answer.content)
    wanted = expected(rows, found.since)
    assert set(wanted) == {f"t-{number}" for number in range(1, 12)}
    assert (found.source, answer.headers["Lakehouse-Source"]) == ("table", "table")
    assert found.snapshot_id == answer.headers["Lakehouse-Snapshot-Id"] != "none"
    assert (found.quality, answer.headers["Lakehouse-Quality"]) == ("warned", "warned")
    newest_first = sorted(wanted.values(), key=lambda row: (row["zone"] or "", row["sensor_id"]))
    body = answer.json()
    assert body["readings"] == [written(row) for row in newest_first]
    assert found.reaches == max(row["event_time"] for row in wanted.values())
    ends = {window["zone"]: window["window_end"] for window in body["zones"]}
    newest_end = max(window["window_end"] for window in windows_of_silver(client))
    assert ends == dict.fromkeys(("centre", "north"), instant(newest_end))

    north = client.get("/v1/traffic/latest", params={"zone": "north", "limit": 2}).json()
    of_north = [row for row in body["readings"] if row["zone"] == "north"]
    assert (north["readings"], north["has_more"]) == (of_north[:2], len(of_north) > 2)
    assert north["zones"] == [window for window in body["zones"] if window["zone"] == "north"]

    for sensor, row in wanted.items():
        answer = client.get(f"/v1/traffic/sensors/{sensor}/latest")
        sensor_model(TRAFFIC).model_validate_json(answer.content)
        assert answer.json() == written(row) | {"source": "table"}
        assert answer.headers["Lakehouse-Source"] == "table"
        assert answer.headers["Lakehouse-Quality"] == "warned"
        assert answer.headers["Lakehouse-Reaches"] == instant(row["event_time"])
    for sensor in ("t-0", "t-99"):
        assert problem(client.get(f"/v1/traffic/sensors/{sensor}/latest"), 404)


def windows_of_silver(client: TestClient) -> list[dict[str, datetime]]:
    answer = client.get("/v1/traffic/windows", params={"limit": 300})
    assert answer.headers["Lakehouse-Source"] == "table"
    body = answer.json()
    assert (body["live"], body["live_after"]) == (False, None)
    return [{"window_end": datetime.fromisoformat(row["window_end"])} for row in body["rows"]]


def test_where_the_last_minutes_are_too_much_the_answer_says_since_when(
    client: TestClient, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newest, "MOST_ROWS", 150)
    found = client.get("/v1/traffic/latest", params={"limit": 300}).json()
    since = datetime.fromisoformat(found["since"])
    assert since > now() - TRAFFIC.stale_after + MINUTE
    wanted = expected(rows, since + timedelta(microseconds=1))
    assert found["readings"]
    assert {row["sensor_id"]: row for row in found["readings"]} == {
        sensor: written(row) for sensor, row in wanted.items()
    }


def test_a_table_is_read_once_for_each_snapshot(
    client: TestClient, rows: list[dict[str, Any]], own_catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    read = newest.newest_of_each

    def counted(*arguments: Any, **options: Any) -> Any:
        reads.append(options["declared"].identifier)
        return read(*arguments, **options)

    monkeypatch.setattr(newest, "newest_of_each", counted)
    for zone in ("north", "centre"):
        client.get("/v1/traffic/latest", params={"zone": zone})
    assert reads == [BRONZE.identifier, SILVER.identifier]
    later = rows[-1] | {"sensor_id": "t-new", "event_time": now(), "kafka_offset": 10_000}
    append(own_catalog, BRONZE.identifier, [later])
    rows.append(later)
    client.get("/v1/traffic/latest")
    assert client.get("/v1/traffic/sensors/t-new/latest").json()["kafka_offset"] == 10_000
    assert reads == [BRONZE.identifier, SILVER.identifier, BRONZE.identifier]


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGSTOP)


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("fault", [kill, stop])
def test_redis_that_goes_is_done_without_and_one_that_comes_back_is_used(
    client: TestClient, away: Settings, monkeypatch: pytest.MonkeyPatch, fault: Callable[..., None]
) -> None:
    monkeypatch.setattr(reader, "AWAY_FOR_S", 0.1)

    def source(path: str = "/v1/traffic/sensors/t-5/latest") -> str:
        answer = client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.headers["Lakehouse-Source"]

    def write() -> None:
        with connect(away) as server:
            view = View(server)
            view.open()
            view.apply([reading("t-5", age_s=0), minute("north", this_minute(), [1.0])], {})

    with running_valkey(away) as process:
        write()
        until(lambda: source() == "live", "the hot view is read")
        monkeypatch.setattr(reader, "ANSWER_WITHIN_S", 0.3)
        fault(process)
        for path in ("/v1/traffic/sensors/t-5/latest", "/v1/traffic/latest", "/v1/traffic/windows"):
            assert source(path) == "table"
        assert "cannot be read now" in problem(answer := client.get("/v1/traffic/stream"), 503)
        assert int(answer.headers["Retry-After"]) > 0
        monkeypatch.setattr(reader, "ANSWER_WITHIN_S", 10.0)
        process.send_signal(signal.SIGCONT)
        if fault is stop:
            until(lambda: source() == "live", "the hot view is read again")
            assert source("/v1/traffic/windows") == "table, live"
    if fault is kill:
        with running_valkey(away):
            write()
            until(lambda: source() == "live", "the new server is read")
            assert source("/v1/traffic/latest") == "live"


def test_an_answer_that_comes_too_late_is_not_that_to_the_next_question(
    away: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "AWAY_FOR_S", 0.01)

    async def scenario(process: subprocess.Popen[bytes]) -> None:
        async with connect_async(away) as pool, aclosing(connect_async_once(away)) as of_entries:
            view = HotViewReader(pool, of_entries)
            await pool.mset({"one": "1", "two": "2"})
            assert await view.entry("one") == b"1"
            monkeypatch.setattr(reader, "ANSWER_WITHIN_S", 0.2)
            stop(process)
            with pytest.raises(HotViewUnavailableError):
                await view.entry("one")
            process.send_signal(signal.SIGCONT)
            monkeypatch.setattr(reader, "ANSWER_WITHIN_S", 10.0)
            found = None
            while found is None:
                with suppress(HotViewUnavailableError):
                    found = await view.entry("two")
                await asyncio.sleep(0)
            assert found == b"2"

    with running_valkey(away) as process:
        asyncio.run(scenario(process))


def test_a_server_that_did_not_answer_is_left_alone_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("api.circuit_breaker.time.monotonic", lambda: clock[0])
    asked: list[float] = []
    answers: dict[str, Any] = {"error": redis.ConnectionError("refused")}

    async def question(_: Any) -> str:
        asked.append(clock[0])
        if "error" in answers:
            raise answers["error"]
        await asyncio.sleep(0)
        return "pong"

    hot_view = HotViewReader(client=None, of_entries=None)  # type: ignore[arg-type]

    async def ask(times: int = 1) -> list[Any]:
        return await asyncio.gather(*(hot_view.read(question) for _ in range(times)), return_exceptions=True)

    async def scenario() -> None:
        assert isinstance((await ask())[0], HotViewUnavailableError)
        clock[0] += reader.AWAY_FOR_S - 0.01
        assert all(isinstance(each, HotViewUnavailableError) for each in await ask(5))
        assert len(asked) == 1
        clock[0] += 0.02
        assert sum(isinstance(each, HotViewUnavailableError) for each in await ask(5)) == 5
        assert len(asked) == 2, "one tries for all"
        clock[0] += reader.AWAY_FOR_S + 0.01
        del answers["error"]
        assert (await ask(5)).count("pong") == 1, "the others do not wait for the one that tries"
        assert await ask(3) == ["pong"] * 3

    asyncio.run(scenario())


def test_without_redis_and_catalog_there_is_no_answer(away: Settings) -> None:
    def broken(_: Settings) -> Any:
        raise OSError("refused")

    with TestClient(create_app(away, catalog_factory=broken), headers=KEY) as client:
        for path in ("latest", "sensors/t-1/latest", "windows"):
            assert "does not answer" in problem(client.get(f"/v1/traffic/{path}"), 503)
