"""What a load generator is asked to do, and what it has measured."""

from pydantic import BaseModel, Field


class LoadPlan(BaseModel):
    """Requests for one server, each in turn, over connections that stay open.

    Without ``rate`` the loop is closed: each connection sends as soon as it has its answer. With it the loop is
    open: requests are due at equal distances, whatever the server does.
    """

    host: str
    port: int
    paths: list[str] = Field(min_length=1)
    headers: dict[str, str] = {}
    connections: int = Field(ge=1)
    warm_up_s: float = Field(default=0.0, ge=0)
    """Requests that are due in these first seconds are sent, but not measured."""
    seconds: float = Field(gt=0)
    """What is measured, after the warm-up."""
    rate: float | None = Field(default=None, gt=0)
    """Requests per second."""
    first_byte: bool = False
    """Whether a request is answered with the first byte of a body, upon which its connection is closed."""


class LoadResult(BaseModel):
    """Figures of the requests that were due after the warm-up.

    The time of a request counts from when it was due. ``unanswered`` requests waited until the generator gave up;
    so long is their time in the percentiles. ``generator_cpu_share`` is of one processor: near one, it is the
    generator that is measured.
    """

    requests: int
    seconds: float
    per_s: float
    statuses: dict[int, int]
    broken: int
    """Connections that the server closed before its answer was whole."""
    unanswered: int
    body_bytes: float
    """Mean size of a body."""
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    generator_cpu_share: float
