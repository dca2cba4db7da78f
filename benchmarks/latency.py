"""Time from ``produce()`` to a value that the API can read, while the whole stack takes a steady load.

The load comes from a process of its own. Beside it, a probe publishes events of sensors of its own and asks for
each, through the function that the API answers with, until the very event is there.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import numpy as np
import orjson
import psutil
from confluent_kafka import Producer
from pydantic import BaseModel
from redis.asyncio import Redis
from redis.exceptions import RedisError

from api.latest.reader import HotViewReader, HotViewUnavailableError
from benchmarks.processes import cpu_of_tree, cpu_seconds, used
from contracts import Family, LakehouseError, families
from contracts.tables import event_columns
from resources.hot_view import changes_key, connect_async, connect_async_once, reading_key
from resources.kafka import client_config
from settings import Settings
from settings.model import ROOT

PROBES_PER_S = 20
PROBE_SENSORS = 700
"""More than are on their way at once, so that one probe never hides behind the next."""
POLL_S = 0.004
"""Probes look at the same time, so that their looks are one request: five hundred a second were a tenth of a core,
of which the stack had that much less."""
POLL_SHARE = 0.05
"""Of the time waited so far: probes that wait long must not ask so often that they are what slows the rest."""
GIVE_UP_S = 60.0
"""Long, since of a stack that falls behind it is worth more to know by how much than that it does."""
LOOKS_BACK_EVERY = 4
"""Of so many probes one looks when its value was written: that costs a millisecond or two."""
CHANGES_LOOKED_AT = 500
"""Of the hot view, newest first: what a probe has just seen is among them, unless the probe came a tenth of a
second late. To look further would be a load of its own, by which the next probes came later still."""
FLUSH_S = 10.0
LINGER_MS = 5

PRODUCER = {
    "linger.ms": LINGER_MS,
    "acks": "all",
    "enable.idempotence": True,
    "compression.type": "lz4",
    "partitioner": "murmur2_random",
}


class LatencyError(LakehouseError):
    """A measurement came to nothing."""


class LatencyReport(BaseModel):
    """Percentiles of the time to be readable, in milliseconds, and what the machine did meanwhile.

    ``lost`` probes were not readable within a minute; they are in no percentile. Of the time to be readable,
    ``acknowledged_p50_ms`` is until the broker has the event. From then to ``written_p50_ms`` are Flink, the hot
    topic and the loader: until Redis has the value, by its own clock, in whole milliseconds; ``written`` probes
    saw it soon enough after that to tell. What is left until ``p50_ms`` is the probe's: on a machine that is busy
    it waits for its turn to look.
    """

    rate: float
    sensors: int
    duration_s: float
    warm_up_s: float
    load_events_per_s: float
    probes: int
    lost: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    acknowledged_p50_ms: float
    written: int
    written_p50_ms: float | None
    written_p99_ms: float | None
    cores: int
    cpu_share: dict[str, float]
    cpu_s_per_million: dict[str, float]


@dataclass(slots=True)
class Samples:
    """What the probes have measured: until the broker has taken the event, until Redis has the value, and until it
    is readable.

    ``cpu`` is what each process used in the ``seconds`` in which probes were sent: the load lasts no longer.
    """

    readable_ms: list[float] = field(default_factory=list)
    written_ms: list[float] = field(default_factory=list)
    acknowledged_ms: list[float] = field(default_factory=list)
    lost: int = 0
    cpu: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


def measure_latency(
    settings: Settings, *, rate: float, duration_s: float, warm_up_s: float, sensors: int
) -> LatencyReport:
    """Load the stack for ``warm_up_s`` and ``duration_s`` seconds and probe it in the latter.

    Args:
        settings: of a running stack.
        rate: events per second of all families together.
        duration_s: seconds that are measured.
        warm_up_s: seconds before: a cold JVM takes more than a second for what takes it milliseconds later.
        sensors: number of sensors of all families together.
    """
    load = _start_load(rate, duration_s + warm_up_s, sensors)

    def spent() -> dict[str, float]:
        return cpu_seconds(settings) | {"load generator": cpu_of_tree(load.pid)}

    try:
        time.sleep(warm_up_s)
        samples = asyncio.run(_probe(settings, duration_s, spent))
    except BaseException:
        load.terminate()
        raise
    finally:
        output, _ = load.communicate(timeout=600)
    if load.returncode:
        raise LatencyError("the load generator failed: `./lakehouse simulate` with the same options says why")
    if not samples.readable_ms:
        raise LatencyError(
            f"none of {samples.lost} probes was readable within {GIVE_UP_S:.0f} s: the rate is too high for this "
            "machine, or the hot view stands still; see `./lakehouse status`"
        )
    sent = json.loads(output.splitlines()[-1])
    readable = np.array(samples.readable_ms)
    p50, p95, p99, p999 = (float(np.percentile(readable, q)) for q in (50, 95, 99, 99.9))
    in_flight = sent["events_per_s"] * samples.seconds
    return LatencyReport(
        rate=rate,
        sensors=sensors,
        duration_s=round(samples.seconds, 1),
        warm_up_s=warm_up_s,
        load_events_per_s=sent["events_per_s"],
        probes=len(readable) + samples.lost,
        lost=samples.lost,
        p50_ms=round(p50, 2),
        p95_ms=round(p95, 2),
        p99_ms=round(p99, 2),
        p999_ms=round(p999, 2),
        max_ms=round(float(readable.max()), 2),
        acknowledged_p50_ms=round(float(np.median(samples.acknowledged_ms)), 2),
        written=len(samples.written_ms),
        written_p50_ms=_percentile(samples.written_ms, 50),
        written_p99_ms=_percentile(samples.written_ms, 99),
        cores=psutil.cpu_count() or 1,
        cpu_share={name: round(seconds / samples.seconds, 3) for name, seconds in samples.cpu.items()},
        cpu_s_per_million={name: round(seconds / in_flight * 1e6, 2) for name, seconds in samples.cpu.items()},
    )


def _percentile(values: Sequence[float], q: float) -> float | None:
    return round(float(np.percentile(values, q)), 2) if values else None


def _start_load(rate: float, seconds: float, sensors: int) -> "subprocess.Popen[str]":
    command = [
        sys.executable,
        "-m",
        "stack",
        "simulate",
        "--rate",
        str(rate),
        "--duration",
        str(seconds),
        "--sensors",
        str(sensors // len(families())),
        "--json",
    ]
    # a session of its own: Linux gives sessions their shares of the cores (sched_autogroup_enabled, see sched(7)),
    # and a probe beside this load in one waited a tenth of a second for its turn to look
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


async def _probe(settings: Settings, seconds: float, spent: Callable[[], dict[str, float]]) -> Samples:
    producer = Producer({**client_config(settings), **PRODUCER})
    redis, of_entries = connect_async(settings), connect_async_once(settings)
    samples = Samples()
    probe = _Probe(producer, redis, HotViewReader(redis, of_entries), samples)
    try:
        await redis.ping()
        before, started = spent(), time.monotonic()
        async with asyncio.TaskGroup() as probes:
            probes.create_task(_poll(producer, started + seconds + GIVE_UP_S, probes_done := asyncio.Event()))
            waiting = []
            for number in range(int(seconds * PROBES_PER_S)):
                await asyncio.sleep(max(0.0, started + number / PROBES_PER_S - time.monotonic()))
                waiting.append(probes.create_task(probe.follow(families()[number % len(families())], number)))
            samples.seconds = time.monotonic() - started
            samples.cpu = used(before, await asyncio.to_thread(spent))
            await asyncio.gather(*waiting)
            probes_done.set()
    finally:
        producer.flush(FLUSH_S)
        await redis.aclose()
        await of_entries.aclose()
    return samples


async def _poll(producer: Producer, until: float, done: asyncio.Event) -> None:
    """Serve delivery reports."""
    while not done.is_set() and time.monotonic() < until:
        producer.poll(0)
        await asyncio.sleep(POLL_S)


@dataclass(slots=True)
class _Probe:
    """Sends events of its own, and looks for each where the API does."""

    producer: Producer
    redis: Redis
    view: HotViewReader
    samples: Samples

    async def follow(self, family: Family, number: int) -> None:
        """Send one event and wait until it is readable, or until it is given up."""
        sensor_id = f"bench-{family.name}-{number % PROBE_SENSORS:03d}"
        event = _event(family, sensor_id, number)
        begun, begun_ms = time.monotonic(), time.time() * 1000

        def acknowledged(error: object, _: object) -> None:
            if error is None:
                self.samples.acknowledged_ms.append((time.monotonic() - begun) * 1000)

        self.producer.produce(family.topic, orjson.dumps(event), sensor_id.encode(), on_delivery=acknowledged)
        wanted, entry = event["event_id"].encode(), None
        while (waited := time.monotonic() - begun) < GIVE_UP_S:
            # one that is not answered in time is asked again, as a client would
            with suppress(HotViewUnavailableError):
                entry = await self.view.entry(reading_key(family.name, sensor_id))
            if entry is not None and wanted in entry:
                self.samples.readable_ms.append((time.monotonic() - begun) * 1000)
                if number % LOOKS_BACK_EVERY == 0:
                    await self._look_back(family, wanted, begun_ms)
                return
            await asyncio.sleep(_until_next_look(time.monotonic() + POLL_SHARE * waited))
        self.samples.lost += 1

    async def _look_back(self, family: Family, event_id: bytes, begun_ms: float) -> None:
        """Find out when Redis took the value of an event that was sent ``begun_ms`` after the epoch.

        The identifier of a stream's entry begins with the server's time
        (https://redis.io/docs/latest/commands/xadd/).
        """
        try:
            found = await self.redis.xrevrange(changes_key(family.name), count=CHANGES_LOOKED_AT)
        except RedisError:
            return  # too busy to tell: the probe itself has its figure
        for identifier, fields in cast("list[tuple[bytes, dict[bytes, bytes]]]", found):
            if any(event_id in entry for entry in fields.values()):
                self.samples.written_ms.append(int(identifier.partition(b"-")[0]) - begun_ms)
                return


def _until_next_look(earliest: float) -> float:
    """Seconds from now to the first multiple of :data:`POLL_S` after ``earliest``."""
    return (earliest // POLL_S + 1) * POLL_S - time.monotonic()


def _event(family: Family, sensor_id: str, number: int) -> dict[str, Any]:
    now = datetime.now(UTC)
    event: dict[str, Any] = {column.name: None for column in event_columns(family)}
    return event | {
        "event_id": f"{sensor_id}-{now.timestamp():.6f}-{number}",
        "sensor_id": sensor_id,
        "event_time": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "zone": family.zones[0],
    }
