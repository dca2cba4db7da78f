"""What Dagster starts by itself, which must not come between the runs that a test makes."""

from typing import Any

import httpx
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_fixed

from resources.dagster_client import LOCATION, REPOSITORY
from settings import Settings

STARTING_SENSORS = ("late_data", "contract_change", "gold_follows", "unchecked_snapshots")
"""Sensors that start runs; the others only report."""

SCHEDULES = """
query Schedules($selector: RepositorySelector!) {
  schedulesOrError(repositorySelector: $selector) {
    ... on Schedules { results { name scheduleState { id status } } }
  }
}
"""
STOP_SCHEDULE = "mutation Stop($id: String!) { stopRunningSchedule(id: $id) { __typename } }"
SENSOR = """
query Sensor($selector: SensorSelector!) {
  sensorOrError(sensorSelector: $selector) { ... on Sensor { sensorState { id status } } }
}
"""
STOP_SENSOR = "mutation Stop($id: String!) { stopSensor(id: $id) { __typename } }"
START_SENSOR = "mutation Start($asked: SensorSelector!) { startSensor(sensorSelector: $asked) { __typename } }"
DONE = {"ScheduleStateResult", "StopSensorMutationResult", "Sensor"}


def stop_automation(settings: Settings) -> None:
    """Stop all schedules, and the sensors that start runs."""
    selector = {"repositoryName": REPOSITORY, "repositoryLocationName": LOCATION}
    for schedule in _query(settings, SCHEDULES, selector=selector)["results"]:
        _do(settings, STOP_SCHEDULE, id=schedule["scheduleState"]["id"])
    for name in STARTING_SENSORS:
        sensor = _query(settings, SENSOR, selector=sensor_selector(name))
        _do(settings, STOP_SENSOR, id=sensor["sensorState"]["id"])


def start_sensor(settings: Settings, name: str) -> None:
    """Let the daemon tick a sensor."""
    _do(settings, START_SENSOR, asked=sensor_selector(name))


def sensor_selector(name: str) -> dict[str, str]:
    """How GraphQL names a sensor."""
    return {"repositoryName": REPOSITORY, "repositoryLocationName": LOCATION, "sensorName": name}


@retry(retry=retry_if_exception_type(httpx.HTTPStatusError), stop=stop_after_attempt(5), wait=wait_fixed(1))
def _do(settings: Settings, mutation: str, **variables: object) -> None:
    """Change a schedule or sensor, again where the daemon sees it for the first time and adds its state too."""
    outcome = _query(settings, mutation, **variables)["__typename"]
    assert outcome in DONE, outcome


def _query(settings: Settings, query: str, **variables: object) -> Any:
    answer = httpx.post(
        f"{settings.dagster_url}/graphql", json={"query": query, "variables": variables}, timeout=60
    )
    if answer.is_error:
        print(answer.text)
    answer.raise_for_status()
    [found] = answer.json()["data"].values()
    return found
