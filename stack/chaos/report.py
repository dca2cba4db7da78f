"""What a chaos run found, as the command line shows it."""

from pydantic import BaseModel, computed_field


class ScenarioResult(BaseModel):
    """Outcome of one scenario, over the families that it streamed.

    ``acknowledged`` counts records that Kafka has taken, ``rows`` those of them in bronze and ``dead_letters``
    those there; ``missing`` are in neither, and ``doubled`` rows stand in bronze twice (before the repair, where
    the scenario is one that doubles). ``late`` events came after their window was closed, ``duplicates`` were
    sent twice. ``recovery_s`` is the time from the end of the fault to the next commit to bronze, ``seconds`` that
    of the whole scenario.
    """

    ok: bool
    skipped: bool = False
    seconds: float = 0.0
    acknowledged: int = 0
    rows: int = 0
    dead_letters: int = 0
    missing: int = 0
    doubled: int = 0
    late: int = 0
    duplicates: int = 0
    recovery_s: float | None = None
    detail: str = ""


class ChaosReport(BaseModel):
    """The outcome of every scenario by name, and the homes of stacks that were kept to be looked at."""

    seed: int
    scenarios: dict[str, ScenarioResult]
    kept: list[str] = []

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ok(self) -> bool:
        """Whether every scenario held."""
        return all(result.ok for result in self.scenarios.values())
