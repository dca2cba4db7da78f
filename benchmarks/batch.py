"""A backfill of the hourly gold tables, by the code that Dagster runs on Spark, and by DuckDB on the same files.

In an object store and a catalog of its own, family after family, so that nobody's tables are touched. What is
timed on Spark's side is a run of the asset but for its audit: begin a branch, compute the range on it, publish.
DuckDB computes day by day, from local copies of the files, and writes the result as Parquet.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from pydantic import BaseModel
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table as IcebergTable

from benchmarks.bronze_rows import Range, bronze_chunks
from benchmarks.gold_in_duckdb import differing_rows, gold_query, naive_events, open_database
from benchmarks.processes import cpu_of_tree, cpu_seconds, used
from contracts import Family, LakehouseError, Table, bronze_events, families, gold_hourly
from resources.catalog import ensure_tables, open_catalog
from resources.spark import open_interruptible_session
from settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FIRST_DAY = date(2026, 1, 1)
SPARK, DUCKDB = "spark", "duckdb"

Say = Callable[[str], None]


class BatchError(LakehouseError):
    """Two engines do not agree on the rows of gold."""


class PerDay(BaseModel):
    """Seconds for one day of all families."""

    spark_s: float
    duckdb_s: float


class BatchReport(BaseModel):
    """Seconds and CPU-seconds of both engines for the whole range; ``equal`` is the comparison row by row.

    ``spark_s`` has neither the start of the session nor the audit, which is what ``session_start_s`` and
    ``audit_s`` are. ``store_cpu_s_per_million`` is what the object store uses meanwhile.
    """

    cores: int
    days: int
    events: int
    rows: int
    spark_s: float
    duckdb_s: float
    ratio: float
    per_day: PerDay
    spark_cpu_s_per_million: float
    duckdb_cpu_s_per_million: float
    store_cpu_s_per_million: float
    session_start_s: float
    audit_s: float
    spark_s_by_family: dict[str, float]
    duckdb_s_by_family: dict[str, float]
    equal: bool
    differing: list[str]


@dataclass(frozen=True, slots=True)
class Bench:
    """What a measurement runs on; ``say`` takes a line of progress."""

    settings: Settings
    catalog: Catalog
    session: "SparkSession"
    span: Range
    say: Say


@dataclass(slots=True)
class Tally:
    """What has been measured so far; ``seconds`` by engine and family, ``cpu`` in seconds by engine."""

    events: int = 0
    rows: int = 0
    audit_s: float = 0.0
    seconds: dict[str, dict[str, float]] = field(default_factory=lambda: {SPARK: {}, DUCKDB: {}})
    cpu: dict[str, float] = field(default_factory=lambda: {SPARK: 0.0, DUCKDB: 0.0})
    store_cpu_s: float = 0.0
    differing: list[str] = field(default_factory=list)


def measure_batch(settings: Settings, *, days: int, events_per_day: int, say: Say) -> BatchReport:
    """Backfill ``days`` days with about ``events_per_day`` events of each family, with Spark and with DuckDB.

    Args:
        settings: of an object store and a catalog without tables.
        days: number of days.
        events_per_day: of each family.
        say: takes a line of progress.
    """
    span = Range(FIRST_DAY, days, events_per_day)
    tally, begun = Tally(), time.monotonic()
    session = open_interruptible_session(settings, days=days)
    started_s = time.monotonic() - begun
    say(f"Spark has started in {started_s:.1f} s")
    for member in families():
        _measure_family(Bench(settings, open_catalog(settings), session, span, say), member, tally)
    session.stop()
    return _report(span, tally, started_s)


def _measure_family(bench: Bench, member: Family, tally: Tally) -> None:
    bronze, gold = bronze_events(member), gold_hourly(member)
    ensure_tables(bench.catalog, (bronze, gold), commit_retries=bench.settings.commit_retries)
    events = _fill(bench.catalog, member, bench.span)
    tally.events += events
    bench.say(f"{member.name}: {events:,} events written")
    _backfill(bench, member, tally)
    bench.say(f"  Spark   {tally.seconds[SPARK][member.name]:8.2f} s")
    _compute_in_duckdb(bench, member, tally)
    bench.say(f"  DuckDB  {tally.seconds[DUCKDB][member.name]:8.2f} s")
    bench.catalog.purge_table(bronze.identifier)


def _fill(catalog: Catalog, member: Family, span: Range) -> int:
    table = catalog.load_table(bronze_events(member).identifier)
    events = 0
    for rows in bronze_chunks(member, span):
        table.append(rows)
        events += len(rows)
    return events


def _backfill(bench: Bench, member: Family, tally: Tally) -> None:
    """What the asset does with a range of days."""
    from lakehouse_assets.gold.publish import audit_and_publish, begin_branch  # imports Dagster
    from lakehouse_assets.gold.query import windows_recipe
    from lakehouse_assets.gold.recompute import recompute

    gold, run_id = gold_hourly(member), f"bench-{member.name}"
    catalog, settings, span = bench.catalog, bench.settings, bench.span
    with _measured(settings, tally, SPARK, member):
        branch = begin_branch(catalog, gold, run_id)
        recompute(
            bench.session,
            catalog,
            settings,
            windows_recipe(gold, bronze_events(member)),
            start=span.start,
            end=span.end,
            branch=branch,
            run_id=run_id,
        )
    steps = audit_and_publish(catalog, gold, branch, span.start, span.end)
    begun = time.monotonic()
    next(steps)
    tally.audit_s += time.monotonic() - begun
    with _measured(settings, tally, SPARK, member):
        for _ in steps:  # it publishes
            pass


def _compute_in_duckdb(bench: Bench, member: Family, tally: Tally) -> None:
    """Aggregate each day and compare it with what was published."""
    bronze, gold = bronze_events(member), gold_hourly(member)
    catalog, settings, span = bench.catalog, bench.settings, bench.span
    folder = settings.home / DUCKDB
    folder.mkdir(exist_ok=True)
    threads = bench.session.sparkContext.defaultParallelism
    with closing(open_database(folder / "spill", threads)) as database:
        for start in (span.start + timedelta(days=number) for number in range(span.days)):
            end = start + timedelta(days=1)
            files = _download(catalog.load_table(bronze.identifier), bronze, start, end, folder)
            result = folder / "gold.parquet"
            with _measured(settings, tally, DUCKDB, member):
                query = gold_query(gold, naive_events(files, start, end))
                database.execute(f"COPY ({query}) TO '{result}' (COMPRESSION zstd)")
            found = catalog.load_table(gold.identifier).scan(within(gold.event_time, start, end)).to_arrow()
            tally.rows += len(found)
            tally.differing += differing_rows(database, gold, f"FROM '{result}'", found)
            for file in files:
                file.unlink()


def _download(table: IcebergTable, declared: Table, start: datetime, end: datetime, folder: Path) -> list[Path]:
    files = []
    for number, task in enumerate(table.scan(within(declared.event_time, start, end)).plan_files()):
        file = folder / f"events-{number}.parquet"
        with table.io.new_input(task.file.file_path).open() as source, file.open("wb") as target:
            shutil.copyfileobj(source, target)
        files.append(file)
    return files


def within(column: str, start: datetime, end: datetime) -> str:
    """PyIceberg's filter for ``[start, end)``."""
    return f"{column} >= '{start.isoformat()}' and {column} < '{end.isoformat()}'"


@contextmanager
def _measured(settings: Settings, tally: Tally, engine: str, member: Family) -> Iterator[None]:
    """Add the time of what is done within, and the CPU time of this process, its JVM and the store."""
    cpu, store, begun = cpu_of_tree(os.getpid()), cpu_seconds(settings), time.monotonic()
    yield
    seconds = tally.seconds[engine]
    seconds[member.name] = seconds.get(member.name, 0.0) + time.monotonic() - begun
    tally.cpu[engine] += cpu_of_tree(os.getpid()) - cpu
    if engine == SPARK:
        tally.store_cpu_s += sum(used(store, cpu_seconds(settings)).values())


def _report(span: Range, tally: Tally, session_start_s: float) -> BatchReport:
    spark_s, duckdb_s = (sum(tally.seconds[engine].values()) for engine in (SPARK, DUCKDB))
    millions = tally.events / 1e6
    return BatchReport(
        cores=psutil.cpu_count() or 1,
        days=span.days,
        events=tally.events,
        rows=tally.rows,
        spark_s=round(spark_s, 2),
        duckdb_s=round(duckdb_s, 2),
        ratio=round(spark_s / duckdb_s, 2),
        per_day=PerDay(spark_s=round(spark_s / span.days, 3), duckdb_s=round(duckdb_s / span.days, 3)),
        spark_cpu_s_per_million=round(tally.cpu[SPARK] / millions, 2),
        duckdb_cpu_s_per_million=round(tally.cpu[DUCKDB] / millions, 2),
        store_cpu_s_per_million=round(tally.store_cpu_s / millions, 2),
        session_start_s=round(session_start_s, 2),
        audit_s=round(tally.audit_s, 2),
        spark_s_by_family={name: round(seconds, 2) for name, seconds in tally.seconds[SPARK].items()},
        duckdb_s_by_family={name: round(seconds, 2) for name, seconds in tally.seconds[DUCKDB].items()},
        equal=not tally.differing,
        differing=tally.differing,
    )
