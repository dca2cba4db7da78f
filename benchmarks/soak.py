"""Whether the API's memory stays what it is under a mixed load."""

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from benchmarks.api import API, LIVE, READY, ROWS, Bench, latest_path, point_paths, serve
from benchmarks.api_report import SoakReport
from benchmarks.api_server import Server
from benchmarks.large_table import Progress, check_room, drop_large_table, ensure_large_table
from benchmarks.load.plan import LoadPlan, LoadResult
from benchmarks.load.run import run_load
from benchmarks.stand_in import FAMILY, SHOWN_AS

RATE = 50.0
CONNECTIONS = 16
LOOK_EACH_S = 1.0
SHARE = 10
"""One in so many looks is in the median at the start, in the middle and at the end."""
POINTS = 5_000
MIB = 1 << 20

Look = tuple[float, float]
"""Seconds since the start, and memory in MiB."""


def soak(bench: Bench, *, minutes: float, keep: bool, progress: Progress) -> SoakReport:
    """Ask the API for everything that it has, for ``minutes``, and look at its memory each second.

    Raises:
        ApiBenchError: there are no live values.
        LargeTableError: there is no room for the table.
    """
    bench.folder.mkdir(exist_ok=True)
    check_room(bench.folder, bench.layout)
    try:
        ensure_large_table(bench.catalog, bench.layout, bench.settings.commit_retries, progress)
        with (
            # none is refused: all requests under way may be streams, beside as many that have just ended
            serve(bench, API, LIVE, READY, most_streams=2 * CONNECTIONS) as server,
            ThreadPoolExecutor(1) as pool,
        ):
            plan = LoadPlan(
                host=server.host,
                port=server.port,
                paths=mixed_paths(bench, server),
                headers=bench.headers,
                connections=CONNECTIONS,
                seconds=60 * minutes,
                rate=RATE,
            )
            load = pool.submit(run_load, plan)
            looks = _watch(server, load)
            return _report(minutes, load.result(), looks)
    finally:
        if not keep:
            drop_large_table(bench.catalog)


def mixed_paths(bench: Bench, server: Server) -> list[str]:
    """Live values, repeated and ever other rows, aggregates, lists, and answers that are streamed."""
    latest = latest_path(bench, server)
    points = point_paths(bench.layout, POINTS)
    aggregate = f"/v1/tables/{SHOWN_AS.identifier}/aggregate?measures=count,avg(avg_speed_kmh)&group_by=zone"
    paths = []
    for number, point in enumerate(points):
        start, end = (part for part in point.partition("?")[2].split("&") if part.startswith(("from=", "to=")))
        others = (f"{aggregate}&{start}&{end}", f"{ROWS}?{start}&{end}&limit=all&format=arrow", "/v1/tables")
        paths += [latest, f"/v1/{FAMILY.name}/latest", points[0], point, latest, others[number % len(others)]]
    return paths


def _watch(server: Server, load: "Future[LoadResult]") -> list[Look]:
    begun, looks = time.monotonic(), []
    while not load.done():
        looks.append((time.monotonic() - begun, server.memory_bytes() / MIB))
        time.sleep(LOOK_EACH_S)
    return looks


def slope_per_hour(looks: Sequence[Look]) -> float:
    """Growth of memory in the second half, in MiB an hour, by least squares; zero for less than two looks."""
    later = np.array(looks[len(looks) // 2 :])
    if len(later) < 2:
        return 0.0
    slope, _ = np.polyfit(later[:, 0], later[:, 1], 1)
    return float(slope) * 3600


def medians(looks: Sequence[Look]) -> tuple[float, float, float]:
    """Memory at the start, in the middle and at the end, each over a share of the time."""
    memory = [each for _, each in looks]
    size = max(1, len(memory) // SHARE)
    middle = (len(memory) - size) // 2
    start, between, end = (np.median(part) for part in (memory[:size], memory[middle:][:size], memory[-size:]))
    return float(start), float(between), float(end)


def _report(minutes: float, load: LoadResult, looks: Sequence[Look]) -> SoakReport:
    start, middle, end = medians(looks)
    return SoakReport(
        minutes=minutes,
        rate=RATE,
        requests=load.requests,
        statuses=load.statuses,
        broken=load.broken,
        unanswered=load.unanswered,
        p50_ms=load.p50_ms,
        p99_ms=load.p99_ms,
        max_ms=load.max_ms,
        start_mib=round(start, 1),
        middle_mib=round(middle, 1),
        end_mib=round(end, 1),
        peak_mib=round(max(memory for _, memory in looks), 1),
        slope_mib_per_hour=round(slope_per_hour(looks), 2),
    )
