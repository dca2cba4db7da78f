"""What ``bench api`` reports."""

from pydantic import BaseModel

from benchmarks.files_in_duckdb import DuckDbFigures


class StartUp(BaseModel):
    """Seconds from the start of the server to its first answer, and to the one that it reaches all tables."""

    live_s: float
    ready_s: float


class Hot(BaseModel):
    """An answer that is asked for over and over again.

    ``per_s`` are requests per second in a closed loop, ``bare_per_s`` those of the same server for a constant of
    the same size, ``framework_per_s`` the same through a route of FastAPI. The times are those at ``rate``, half
    of ``per_s``, in an open loop. ``generator_cpu_share`` near one says that ``bare_per_s`` is the generator's.
    """

    per_s: float
    bare_per_s: float
    framework_per_s: float
    ratio_to_bare: float
    ratio_to_framework: float
    rate: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    body_bytes: int
    cpu_s_per_thousand: float
    generator_cpu_share: float


class Paced(BaseModel):
    """Times at ``rate`` requests per second, in an open loop."""

    rate: float
    requests: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class Point(Paced):
    """Rows of one sensor and one hour, others in each request; ``equal`` compares some answers with DuckDB's rows.

    DuckDB has the files on its own disk; in ``duckdb_planned`` it is told which of them to read.
    """

    duckdb: DuckDbFigures
    duckdb_planned: DuckDbFigures
    equal: bool


class Arrow(BaseModel):
    """Milliseconds to the first byte of all rows as an Arrow stream: median, and worst."""

    streams: int
    first_byte_ms: float
    max_first_byte_ms: float
    duckdb_first_batch_ms: float


class ApiReport(BaseModel):
    """What was measured on a table of ``rows`` rows in ``files`` files."""

    cores: int
    workers: int
    rows: int
    files: int
    start_up: StartUp
    latest: Hot
    cached: Hot
    not_modified: Paced
    point: Point
    arrow: Arrow


class SoakReport(BaseModel):
    """Resident memory of the API's processes under a mixed load, in MiB.

    ``start_mib``, ``middle_mib`` and ``end_mib`` are medians of a tenth of the time each; the slope is that of the
    second half, by least squares: in the first, caches fill.
    """

    minutes: float
    rate: float
    requests: int
    statuses: dict[int, int]
    broken: int
    unanswered: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    start_mib: float
    middle_mib: float
    end_mib: float
    peak_mib: float
    slope_mib_per_hour: float
