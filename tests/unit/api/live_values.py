"""For tests of live values: what the stream writes, and the API in a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson

from contracts import family
from hot_view.records import RecordReader, Update
from settings import Settings
from settings.model import ROOT
from stack.local.local_env import free_ports

KEY = {"X-API-Key": "the-key-of-these-tests"}
TRAFFIC = family("traffic")
READER = RecordReader(TRAFFIC)
PATIENCE_S = 120


def instant(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def now() -> datetime:
    return datetime.now(UTC)


def reading(
    sensor: str, *, zone: str | None = "centre", offset: int = 0, age_s: float = 1, **others: Any
) -> Update:
    moment = now() - timedelta(seconds=age_s)
    fields = {
        "event_id": f"e-{sensor}-{offset}",
        "sensor_id": sensor,
        "event_time": instant(moment),
        "zone": zone,
        "latitude": 52.5,
        "longitude": None,
        "vehicle_count": 12,
        "avg_speed_kmh": 45.25,
        "occupancy_ratio": 0.1,
        "kafka_partition": 0,
        "kafka_offset": offset,
        "kafka_time": instant(moment),
    }
    return READER.read(f"sensor:{sensor}".encode(), orjson.dumps(fields | others))


def minute_fields(zone: str, start: datetime, values: list[float]) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "zone": zone,
        "minute": instant(start),
        "event_count": len(values) + 1,  # one event without values
        "newest_event": instant(start + timedelta(seconds=len(values) % 60)),
    }
    for measure in TRAFFIC.measures:
        fields |= {
            f"{measure.name}_count": len(values),
            f"{measure.name}_sum": float(sum(values)) if values else None,
            f"{measure.name}_min": min(values, default=None),
            f"{measure.name}_max": max(values, default=None),
        }
    return fields


def minute(zone: str, start: datetime, values: list[float]) -> Update:
    key = f"zone:{zone}:{start:%Y-%m-%dT%H:%M}".encode()
    return READER.read(key, orjson.dumps(minute_fields(zone, start, values)))


def this_minute() -> datetime:
    return now().replace(second=0, microsecond=0)


def problem(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    detail: str = answer.json()["detail"]
    return detail


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def until(look: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not look():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.02)


@contextmanager
def served(settings: Settings, **variables: str) -> Iterator[str]:
    """The API as it is deployed, in a process of its own; yields its address."""
    port, metrics_port = free_ports(2)
    secrets = ("s3_access_key", "s3_secret_key", "redis_password", "api_key")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        "LAKEHOUSE_HOME": str(settings.home),
        "LAKEHOUSE_REDIS_PORT": str(settings.redis_port),
        "LAKEHOUSE_API_METRICS_PORT": str(metrics_port),
        **{f"LAKEHOUSE_{name.upper()}": getattr(settings, name).get_secret_value() for name in secrets},
        **variables,
    }
    command = [sys.executable, "-m", "granian", "--interface", "asgi", "--factory", "--port", str(port)]
    command += ["tests.unit.api.patient_service:create_worker"]
    with subprocess.Popen(command, env=environment, cwd=ROOT) as process:
        try:
            until(lambda: answers(f"http://127.0.0.1:{port}/health/live"), "the API answers")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
