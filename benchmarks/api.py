"""How fast the API answers, beside the same server with nothing to do, and beside DuckDB on the same files.

The API runs in a process of its own, as the stack serves it, on the stack's catalog, object store and Redis. A
large table of the benchmark's own stands in for one of the contracts', so that nobody's data is touched.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psutil
from pyiceberg.catalog import Catalog

from benchmarks.api_report import ApiReport, Arrow, Hot, Paced, Point, StartUp
from benchmarks.api_server import Server, running
from benchmarks.files_in_duckdb import FilesInDuckDb
from benchmarks.large_table import (
    Layout,
    Progress,
    check_room,
    drop_large_table,
    ensure_large_table,
    point_queries,
)
from benchmarks.load.plan import LoadPlan, LoadResult
from benchmarks.load.run import run_load
from benchmarks.processes import cpu_of_tree
from benchmarks.stand_in import FAMILY, SHOWN_AS, STAND_IN
from contracts import ColumnType, LakehouseError
from resources.catalog import ensure_tables, open_catalog
from settings import Settings

API, BARE = "benchmarks.stand_in:create_worker", "benchmarks.bare:app"
READY, LIVE = "/health/ready", "/health/live"
ROWS = f"/v1/tables/{SHOWN_AS.identifier}/rows"

CONNECTIONS = 16
ROUNDS = 3
"""Measurements that are compared take turns, so that what else the machine does falls on each of them."""
WARM_UP_S = 2.0
POINT_RATE = 20.0
POINT_WARM_UP_S = 3.0
COMPARED = 20
"""Point queries whose answers are held against DuckDB's."""
STREAM_RATE = 2.0

Say = Callable[[str], None]


class ApiBenchError(LakehouseError):
    """A measurement came to nothing."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What a measurement runs on; a figure is measured for ``seconds``, ``say`` takes a line of progress."""

    settings: Settings
    catalog: Catalog
    layout: Layout
    seconds: float
    say: Say

    @property
    def folder(self) -> Path:
        """For what the measurement writes beside the table."""
        return self.settings.home / "bench"

    @property
    def headers(self) -> dict[str, str]:
        """Those of a request with the key of the installation."""
        return {"X-API-Key": self.settings.api_key.get_secret_value()}


def measure_api(bench: Bench, *, keep: bool, progress: Progress) -> ApiReport:
    """Measure the API of a running stack.

    Args:
        bench: what to measure on.
        keep: whether the large table stays for the next measurement.
        progress: takes how many files of the large table are written.

    Raises:
        ApiBenchError: there are no live values, or an answer is not what it should be.
        LargeTableError: there is no room for the table.
    """
    bench.folder.mkdir(exist_ok=True)
    check_room(bench.folder, bench.layout)
    ensure_tables(bench.catalog, (STAND_IN,), commit_retries=bench.settings.commit_retries)
    try:
        start_up, latest = _measure_live(bench)
        ensure_large_table(bench.catalog, bench.layout, bench.settings.commit_retries, progress)
        with FilesInDuckDb(bench.catalog.load_table(STAND_IN.identifier), bench.folder) as duckdb:
            cached, not_modified, point, arrow = _measure_rows(bench, duckdb)
    finally:
        if not keep:
            drop_large_table(bench.catalog)
    return ApiReport(
        cores=psutil.cpu_count() or 1,
        workers=bench.settings.api_workers,
        rows=bench.layout.rows,
        files=bench.layout.files,
        start_up=start_up,
        latest=latest,
        cached=cached,
        not_modified=not_modified,
        point=point,
        arrow=arrow,
    )


def open_bench(settings: Settings, *, rows: int, files: int, seconds: float, say: Say) -> Bench:
    """What a measurement on the running stack of ``settings`` needs."""
    return Bench(settings, open_catalog(settings), Layout(rows, files), seconds, say)


def serve(
    bench: Bench, application: str, *until: str, most_streams: int | None = None
) -> AbstractContextManager[Server]:
    """Serve the API or a constant beside the stack's."""
    log = bench.folder / f"{application.partition(':')[0].rpartition('.')[2]}.log"
    return running(bench.settings, application, log, until=until, most_streams=most_streams)


def latest_path(bench: Bench, server: Server) -> str:
    """Path of the newest reading of a sensor that has one.

    Raises:
        ApiBenchError: none has.
    """
    answer = _get(bench, server, f"/v1/{FAMILY.name}/latest?limit=1").json()
    if not answer["readings"]:
        raise ApiBenchError(
            f"no {FAMILY.name} sensor has sent anything in the last minutes: run "
            "./lakehouse simulate --rate 5000 --duration 60 first"
        )
    return f"/v1/{FAMILY.name}/sensors/{quote(answer['readings'][0]['sensor_id'], safe='')}/latest"


def point_paths(layout: Layout, count: int) -> list[str]:
    """Paths of ``count`` point queries."""
    return [
        f"{ROWS}?sensor_id={sensor}&from={start:%Y-%m-%dT%H:%M:%SZ}&to={end:%Y-%m-%dT%H:%M:%SZ}&limit=1000"
        for sensor, start, end in point_queries(layout, count)
    ]


def _measure_live(bench: Bench) -> tuple[StartUp, Hot]:
    with serve(bench, API, LIVE, READY) as server, serve(bench, BARE, "/1") as bare:
        start_up = StartUp(live_s=round(server.started_s[LIVE], 2), ready_s=round(server.started_s[READY], 2))
        bench.say(f"the API was ready after {start_up.ready_s} s")
        return start_up, _hot(bench, server, bare, latest_path(bench, server), "latest")


def _measure_rows(bench: Bench, duckdb: FilesInDuckDb) -> tuple[Hot, Paced, Point, Arrow]:
    with serve(bench, API, LIVE, READY) as server, serve(bench, BARE, "/1") as bare:
        (repeated,) = point_paths(bench.layout, 1)
        cached = _hot(bench, server, bare, repeated, "cached rows")
        not_modified = _not_modified(bench, server, repeated)
        point = _point(bench, server, duckdb)
        arrow = _arrow(bench, server, duckdb)
    return cached, not_modified, point, arrow


def _hot(bench: Bench, server: Server, bare: Server, path: str, what: str) -> Hot:
    size = len(_get(bench, server, path).content)
    targets = {"api": (server, path), "bare": (bare, f"/{size}"), "framework": (bare, f"/framework/{size}")}
    for target, asked in targets.values():
        _load(bench, target, [asked], seconds=WARM_UP_S)
    found: dict[str, list[LoadResult]] = {name: [] for name in targets}
    cpu = 0.0
    for _ in range(ROUNDS):
        for name, (target, asked) in targets.items():
            before = cpu_of_tree(target.pid)
            found[name].append(_load(bench, target, [asked], seconds=bench.seconds / ROUNDS))
            cpu += cpu_of_tree(target.pid) - before if name == "api" else 0.0
    per_s = {
        name: sum(each.requests for each in results) / sum(each.seconds for each in results)
        for name, results in found.items()
    }
    ratio = per_s["api"] / per_s["bare"]
    bench.say(f"{what}: {per_s['api']:,.0f} requests/s, bare {per_s['bare']:,.0f}, ratio {ratio:.2f}")
    half = _load(bench, server, [path], rate=per_s["api"] / 2)
    return Hot(
        per_s=round(per_s["api"], 1),
        bare_per_s=round(per_s["bare"], 1),
        framework_per_s=round(per_s["framework"], 1),
        ratio_to_bare=round(ratio, 3),
        ratio_to_framework=round(per_s["api"] / per_s["framework"], 3),
        rate=round(per_s["api"] / 2, 1),
        p50_ms=half.p50_ms,
        p99_ms=half.p99_ms,
        max_ms=half.max_ms,
        body_bytes=size,
        cpu_s_per_thousand=round(cpu / sum(each.requests for each in found["api"]) * 1000, 3),
        generator_cpu_share=max(each.generator_cpu_share for results in found.values() for each in results),
    )


def _not_modified(bench: Bench, server: Server, path: str) -> Paced:
    known = {"If-None-Match": _get(bench, server, path).headers["ETag"]}
    unpaced = _load(bench, server, [path], seconds=WARM_UP_S, headers=known, status=304)
    paced = _load(bench, server, [path], rate=unpaced.per_s / 2, headers=known, status=304)
    bench.say(f"304: p99 {paced.p99_ms} ms at {unpaced.per_s / 2:,.0f} requests/s")
    return _paced(paced, unpaced.per_s / 2)


def _point(bench: Bench, server: Server, duckdb: FilesInDuckDb) -> Point:
    seconds = 2 * bench.seconds
    asked = round((POINT_WARM_UP_S + seconds) * POINT_RATE)
    paths = point_paths(bench.layout, asked + COMPARED)
    result = _load(bench, server, paths[:asked], rate=POINT_RATE, seconds=seconds, warm_up_s=POINT_WARM_UP_S)
    bench.say(f"point query: p99 {result.p99_ms} ms at {POINT_RATE:.0f} requests/s")
    queries = list(point_queries(bench.layout, asked + COMPARED))[asked:]
    answers = [_rows(_get(bench, server, path).json()) for path in paths[asked:]]
    rows, whole, planned = duckdb.point(queries)
    return Point(
        **_paced(result, POINT_RATE).model_dump(),
        duckdb=whole,
        duckdb_planned=planned,
        equal=answers == rows,
    )


def _arrow(bench: Bench, server: Server, duckdb: FilesInDuckDb) -> Arrow:
    result = _load(bench, server, [f"{ROWS}?limit=all&format=arrow"], rate=STREAM_RATE, first_byte=True)
    bench.say(f"Arrow stream: first byte after {result.p50_ms} ms")
    return Arrow(
        streams=result.requests,
        first_byte_ms=result.p50_ms,
        max_first_byte_ms=result.max_ms,
        duckdb_first_batch_ms=duckdb.first_batch_ms(),
    )


def _rows(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of an answer by offset, with instants for the texts of them."""
    instants = {column.name for column in SHOWN_AS.columns if column.type is ColumnType.TIMESTAMP}
    rows = [
        {name: datetime.fromisoformat(value) if name in instants else value for name, value in row.items()}
        for row in answer["rows"]
    ]
    return sorted(rows, key=lambda row: row["kafka_offset"])


def _get(bench: Bench, server: Server, path: str) -> httpx.Response:
    answer = httpx.get(server.url + path, headers=bench.headers, timeout=60)
    if answer.status_code != httpx.codes.OK:
        raise ApiBenchError(f"GET {path} was answered {answer.status_code}: {answer.text[:500]}")
    return answer


def _load(
    bench: Bench,
    server: Server,
    paths: list[str],
    *,
    seconds: float | None = None,
    rate: float | None = None,
    warm_up_s: float = 0.0,
    headers: dict[str, str] | None = None,
    status: int = httpx.codes.OK,
    first_byte: bool = False,
) -> LoadResult:
    """Run a load of which every request must be answered with ``status``."""
    plan = LoadPlan(
        host=server.host,
        port=server.port,
        paths=paths,
        headers=bench.headers | (headers or {}),
        connections=CONNECTIONS,
        warm_up_s=warm_up_s,
        seconds=bench.seconds if seconds is None else seconds,
        rate=rate,
        first_byte=first_byte,
    )
    result = run_load(plan)
    if result.statuses.keys() != {status} or result.broken or result.unanswered:
        raise ApiBenchError(
            f"GET {paths[0]} was answered {result.statuses} instead of {status} throughout, {result.broken} "
            f"connections broke, {result.unanswered} requests were not answered: see {bench.folder}/*.log"
        )
    return result


def _paced(result: LoadResult, rate: float) -> Paced:
    return Paced(
        rate=round(rate, 1),
        requests=result.requests,
        p50_ms=result.p50_ms,
        p99_ms=result.p99_ms,
        max_ms=result.max_ms,
    )
