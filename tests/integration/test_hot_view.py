"""The hot view of a running stack: what the API says is live is what Kafka has, whatever is killed or emptied."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest
from confluent_kafka import Consumer, TopicPartition
from waiting import PATIENCE_S, until

from contracts import Family, family
from resources.hot_view import connect
from resources.kafka import end_offsets
from settings import Settings
from sources.simulate import SimulationOptions, run_simulation
from stack.local.supervisor import Supervisor

TRAFFIC = family("traffic")
SENSORS = 60


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[httpx.Client]:
    headers = {"X-API-Key": settings.api_key.get_secret_value()}
    with httpx.Client(base_url=settings.api_url, headers=headers, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def begin(settings: Settings) -> dict[int, int]:
    """Where the topic ended before these tests: others publish to it, also what is no event."""
    return end_offsets(settings, TRAFFIC.topic)


@pytest.fixture(scope="module")
def events(settings: Settings, begin: dict[int, int]) -> None:
    simulate(settings, seed=1)


def simulate(settings: Settings, *, seed: int) -> None:
    options = SimulationOptions(
        families=(TRAFFIC,),
        sensors=SENSORS,
        seed=seed,
        rate=200.0,
        duration=timedelta(seconds=8),
        late=0.05,
        duplicates=0.05,
    )
    run_simulation(options, settings)


def in_kafka(settings: Settings, declared: Family, begin: dict[int, int]) -> dict[str, dict[str, Any]]:
    """The newest event of each sensor since ``begin``, read from the topic that sensors publish to."""
    ends = end_offsets(settings, declared.topic)
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": "test-hot-view"})
    wanted = {partition: end for partition, end in ends.items() if end > begin[partition]}
    consumer.assign([TopicPartition(declared.topic, partition, begin[partition]) for partition in wanted])
    left = sum(end - begin[partition] for partition, end in wanted.items())
    newest: dict[str, tuple[datetime, int, dict[str, Any]]] = {}
    deadline = time.monotonic() + PATIENCE_S
    while left > 0:
        assert time.monotonic() < deadline, f"{left} records of {declared.topic} were not delivered"
        for message in consumer.consume(1000, 1.0):
            left -= 1
            event = orjson.loads(message.value())
            place = datetime.fromisoformat(event["event_time"]), message.offset()
            if event["sensor_id"] not in newest or newest[event["sensor_id"]][:2] < place:
                newest[event["sensor_id"]] = (*place, event)
    consumer.close()
    return {sensor: event for sensor, (_, _, event) in newest.items()}


def live(client: httpx.Client, sensor: str, columns: list[str]) -> dict[str, Any] | None:
    answer = client.get(f"/v1/traffic/sensors/{sensor}/latest")
    if answer.status_code == httpx.codes.NOT_FOUND:
        return None
    reading = answer.raise_for_status().json()
    return {name: value_of(name, reading[name]) for name in columns}


def value_of(name: str, value: Any) -> Any:
    return datetime.fromisoformat(value) if name == "event_time" else value


def is_live(settings: Settings, client: httpx.Client, begin: dict[int, int]) -> Callable[[], bool]:
    expected = in_kafka(settings, TRAFFIC, begin)
    assert len(expected) >= SENSORS / 2

    def all_equal() -> bool:
        return all(
            live(client, sensor, list(event)) == {name: value_of(name, value) for name, value in event.items()}
            for sensor, event in expected.items()
        )

    return all_equal


@pytest.mark.usefixtures("events")
def test_the_latest_of_each_sensor_is_the_newest_by_event_time_in_kafka(
    settings: Settings, client: httpx.Client, begin: dict[int, int]
) -> None:
    until(is_live(settings, client, begin), "each sensor's newest event is live")
    expected = in_kafka(settings, TRAFFIC, begin)
    answer = client.get("/v1/traffic/latest", params={"limit": 1000}).raise_for_status().json()
    assert {reading["sensor_id"] for reading in answer["readings"]} >= set(expected)
    zone = next(event["zone"] for event in expected.values())  # other tests have sensors without one
    of_zone = client.get("/v1/traffic/latest", params={"zone": zone, "limit": 1000}).json()
    assert {reading["sensor_id"] for reading in of_zone["readings"]} & set(expected) == {
        sensor for sensor, event in expected.items() if event["zone"] == zone
    }
    assert [window["zone"] for window in of_zone["zones"]] == [zone]


@pytest.mark.usefixtures("events")
def test_a_loader_that_is_killed_catches_up(
    settings: Settings, client: httpx.Client, begin: dict[int, int]
) -> None:
    (pid,) = (info["pid"] for info in Supervisor(settings).processes() if info["name"] == "hot-view")
    os.kill(pid, signal.SIGKILL)
    simulate(settings, seed=2)
    until(is_live(settings, client, begin), "each sensor's newest event is live after the loader was killed")


@pytest.mark.usefixtures("events")
def test_an_emptied_server_is_filled_again(
    settings: Settings, client: httpx.Client, begin: dict[int, int]
) -> None:
    all_live = is_live(settings, client, begin)
    until(all_live, "each sensor's newest event is live")
    with connect(settings) as server:
        server.flushall()
    until(all_live, "each sensor's newest event is live again")


def test_changes_come_as_events(settings: Settings, client: httpx.Client) -> None:
    with client.stream("GET", "/v1/traffic/stream") as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("retry: ")
        simulate(settings, seed=3)
        seen: dict[str, dict[str, Any]] = {}
        event = ""
        while {"reading", "zone"} - seen.keys():
            name, _, value = next(lines).partition(": ")
            if name == "event":
                event = value
            elif name == "data":
                seen[event] = orjson.loads(value)
    assert seen["reading"]["sensor_id"].startswith("traffic-")
    assert seen["zone"]["event_count"] > 0
