"""Processes that are killed and frozen."""

from stack.chaos.proxy.faults import HoldUntilReleased
from stack.chaos.scenarios.model import Scenario
from stack.chaos.trial import Trial

KILLS = 3
BROKER_PAUSE_S = 60.0


def _kill_task_manager(trial: Trial) -> None:
    kills = 1 if trial.quick else KILLS
    for remaining in reversed(range(kills)):
        trial.await_checkpoint()
        trial.kill("flink-taskmanager")
        if remaining:
            trial.await_commits()


def _kill_during_commit(trial: Trial) -> None:
    hold = HoldUntilReleased(trial.bronze)
    trial.deployment.before_catalog.arm(hold)
    try:
        trial.await_event(hold.held.is_set, "a commit is under way")
        trial.kill("flink-taskmanager")
    finally:
        hold.release()
    trial.await_event(hold.struck.is_set, "the commit has landed")


def _kill_job_manager(trial: Trial) -> None:
    trial.await_commits(trial.random.randint(1, 2))
    trial.kill("flink-jobmanager")


def _freeze_task_manager(trial: Trial) -> None:
    trial.await_checkpoint()
    trial.say("freezing flink-taskmanager")
    pid = trial.deployment.stop("flink-taskmanager")
    try:
        trial.await_task_managers(0)
    finally:
        trial.deployment.resume(pid)
    trial.say("it goes on")


def _kill_broker(trial: Trial) -> None:
    trial.await_commits(trial.random.randint(1, 2))
    trial.kill("kafka")


def _pause_broker(trial: Trial) -> None:
    trial.await_commits()
    trial.say(f"freezing kafka for {BROKER_PAUSE_S:.0f} s")
    pid = trial.deployment.stop("kafka")
    try:
        trial.pause(BROKER_PAUSE_S)
    finally:
        trial.deployment.resume(pid)


def _kill_guard(trial: Trial) -> None:
    hold = HoldUntilReleased(trial.bronze)
    trial.deployment.before_catalog.arm(hold)
    try:
        trial.await_event(hold.held.is_set, "a commit is under way")
        trial.kill("commit-guard")
    finally:
        hold.release()


SCENARIOS = (
    Scenario(
        "taskmanager-kill",
        "kill -9 of the TaskManager right after a completed checkpoint, three times over",
        _kill_task_manager,
    ),
    Scenario(
        "commit-kill",
        "kill -9 of the TaskManager while the catalog has its commit; the commit lands afterwards",
        _kill_during_commit,
    ),
    Scenario("jobmanager-kill", "kill -9 of the JobManager", _kill_job_manager, families=("traffic", "weather")),
    Scenario(
        "taskmanager-freeze",
        "SIGSTOP of the TaskManager until the JobManager has given it up, then SIGCONT",
        _freeze_task_manager,
    ),
    Scenario("broker-kill", "kill -9 of the broker", _kill_broker, families=("traffic", "weather")),
    Scenario("broker-pause", f"SIGSTOP of the broker for {BROKER_PAUSE_S:.0f} s", _pause_broker),
    Scenario("guard-kill", "kill -9 of the commit guard while a commit is on its way through it", _kill_guard),
)
