"""The hot view: its loader and Redis are killed, and it must show each sensor's newest event again."""

from stack.chaos.checks import Findings, hot_view_problems
from stack.chaos.errors import ScenarioError
from stack.chaos.load import Published
from stack.chaos.patience import until
from stack.chaos.scenarios.model import Scenario
from stack.chaos.trial import Trial

CATCH_UP_S = 60.0


def _kill_loader(trial: Trial) -> None:
    trial.await_commits(trial.random.randint(1, 2))
    trial.kill("hot-view")


def _kill_redis(trial: Trial) -> None:
    trial.await_commits(trial.random.randint(1, 2))
    trial.kill("redis")


def _shows_newest(trial: Trial, published: Published, _findings: Findings) -> list[str]:
    found: list[str] = []

    def agrees() -> bool:
        found[:] = hot_view_problems(trial.settings, published)
        return not found

    try:
        until(agrees, "the hot view shows the newest event of each sensor", patience_s=CATCH_UP_S, poll_s=2)
    except ScenarioError:
        return found
    return []


SCENARIOS = (
    Scenario(
        "loader-kill",
        "kill -9 of the hot view's loader",
        _kill_loader,
        families=("energy",),
        live=True,
        verify=_shows_newest,
    ),
    Scenario(
        "redis-kill",
        "kill -9 of Redis, which keeps nothing on disk",
        _kill_redis,
        families=("energy",),
        live=True,
        verify=_shows_newest,
    ),
)
