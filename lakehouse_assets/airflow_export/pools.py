"""How many runs of a concurrency pool go on at a time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from resources.spark import POOL, POOL_LIMIT
from settings.model import ROOT

INSTANCE = ROOT / "dagster.yaml"


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """The limit of the pools of ``own``, and ``default`` for the others; ``None`` is no limit, as in Dagster."""

    default: int | None = None
    own: Mapping[str, int] = field(default_factory=dict)

    def of(self, pool: str) -> int | None:
        """Runs of ``pool`` at a time."""
        return self.own.get(pool, self.default)


def pool_limits(instance: Path = INSTANCE) -> PoolLimits:
    """The limits of a running platform: those of its ``dagster.yaml``, and Spark's, set when it starts."""
    configured = yaml.safe_load(instance.read_text(encoding="utf-8")) or {}
    pools = (configured.get("concurrency") or {}).get("pools") or {}
    return PoolLimits(pools.get("default_limit"), {POOL: POOL_LIMIT})
