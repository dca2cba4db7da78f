"""Commits whose answers are lost, late or wrong, and the commit that lands too late."""

from collections.abc import Callable

from stack.chaos.proxy.catalog import CatalogProxy
from stack.chaos.proxy.faults import DelayAnswer, DropAnswer, HoldUntilRepeated, ServiceUnavailable
from stack.chaos.scenarios.model import Inject, Scenario
from stack.chaos.trial import Trial

DELAY_S = 30.0
RETRY_AFTER_S = 2

Answering = DropAnswer | DelayAnswer | ServiceUnavailable


def _strikes(make: Callable[[str], Answering], what: str) -> Inject:
    """A fault between guard and catalog, and once the job has committed again, between Flink and guard."""

    def inject(trial: Trial) -> None:
        proxies = (trial.deployment.before_catalog, trial.deployment.before_guard)
        for index, proxy in enumerate(proxies):
            if index:
                trial.await_commits()
            _strike(trial, proxy, make(trial.bronze), what)

    return inject


def _strike(trial: Trial, proxy: CatalogProxy, fault: Answering, what: str) -> None:
    trial.await_commits(trial.random.randint(1, 2))
    proxy.arm(fault)
    trial.await_event(fault.struck.is_set, what)
    trial.say(f"the answer {what}")
    proxy.arm(None)


def _hold(trial: Trial) -> None:
    trial.await_commits()
    hold = HoldUntilRepeated(trial.bronze)
    trial.deployment.before_catalog.arm(hold)
    trial.await_event(hold.held.is_set, "a commit is under way")
    trial.say("a commit is held")
    trial.kill("flink-taskmanager")
    trial.await_event(hold.struck.is_set, "the restarted job repeats the commit that is held")
    trial.say(f"the held commit has landed: the catalog answered {hold.first_status}")


def _hold_unguarded(trial: Trial) -> None:
    trial.deployment.bypass_guard(bypassed=True)
    try:
        _hold(trial)
        # the repetition, which nobody refuses now
        trial.await_commits()
    finally:
        trial.deployment.bypass_guard(bypassed=False)


SCENARIOS = (
    Scenario(
        "catalog-drop-answer",
        "a commit takes place, its answer is lost with the connection",
        _strikes(DropAnswer, "was dropped"),
    ),
    Scenario(
        "catalog-delay-answer",
        f"a commit takes place, its answer comes {DELAY_S:.0f} s later",
        _strikes(lambda table: DelayAnswer(table, DELAY_S), "was delayed"),
    ),
    Scenario(
        "catalog-503",
        "a commit takes place and is answered 503 without Retry-After",
        _strikes(lambda table: ServiceUnavailable(table, retry_after_s=None), "was 503"),
    ),
    Scenario(
        "catalog-503-retry-after",
        "a commit takes place and is answered 503 with Retry-After",
        _strikes(lambda table: ServiceUnavailable(table, retry_after_s=RETRY_AFTER_S), "was 503"),
    ),
    Scenario(
        "catalog-hold",
        "a commit lands after the restarted job has looked at the table: the guard keeps its rows from doubling",
        _hold,
    ),
    Scenario(
        "catalog-hold-unguarded",
        "the same without the guard: rows must double, or the one before proves nothing; then they are repaired",
        _hold_unguarded,
        doubles=True,
    ),
)
