"""The object store: killed, slow, unreliable, full; and the broker's disk full."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from stack.chaos.errors import ScenarioSkippedError
from stack.chaos.proxy.relay import Mode
from stack.chaos.scenarios.model import Scenario
from stack.chaos.trial import Trial
from stack.chaos.volumes import Volume

REQUESTS = 20
"""Requests, or connections, that meet each S3 fault before the next one."""
STALL_S = 20.0

BROKER_DISK = Volume("data/kafka", 512)
STORE_DISK = Volume("data/store", 2048)


def _kill_store(trial: Trial) -> None:
    trial.await_commits(trial.random.randint(1, 2))
    trial.kill("store")


def _break_s3(trial: Trial) -> None:
    for mode in (Mode.UNAVAILABLE, Mode.RESET):
        with _s3_in(mode, trial) as already:
            trial.await_event(partial(_has_met, trial, mode, already + REQUESTS), f"requests to S3 met: {mode}")
    with _s3_in(Mode.STALL, trial) as already:
        trial.await_event(partial(_has_met, trial, Mode.STALL, already + 1), "a request to S3 stalls")
        trial.pause(STALL_S)


@contextmanager
def _s3_in(mode: Mode, trial: Trial) -> Iterator[int]:
    """S3 in ``mode``, with how many had met it before."""
    relay = trial.deployment.before_s3
    trial.await_commits()
    already = relay.struck(mode)
    trial.say(f"S3: {mode}")
    relay.mode = mode
    try:
        yield already
    finally:
        relay.mode = Mode.PASS


def _has_met(trial: Trial, mode: Mode, count: int) -> bool:
    return trial.deployment.before_s3.struck(mode) >= count


def _fill_broker_disk(trial: Trial) -> None:
    before = trial.deployment.pid("kafka")
    with _full_disk(trial):
        trial.await_event(
            lambda: trial.deployment.pid("kafka") != before, "the broker has ended for lack of space"
        )


def _fill_store_disk(trial: Trial) -> None:
    with _full_disk(trial):
        trial.await_trouble()
    # its index of files refuses every write after one that failed, until it is opened again
    trial.kill("store")


@contextmanager
def _full_disk(trial: Trial) -> Iterator[None]:
    disk = trial.deployment.disk
    if disk is None:
        raise ScenarioSkippedError("the stack has no small disk")
    trial.await_commits()
    try:
        disk.fill()
        trial.say("the disk is full")
        yield
    finally:
        disk.free()
    trial.say("there is space again")


SCENARIOS = (
    Scenario(
        "store-kill",
        "kill -9 of the object store and catalog",
        _kill_store,
        families=("traffic", "weather"),
    ),
    Scenario("s3-faults", "S3 answers 503, resets connections, and stalls", _break_s3),
    Scenario(
        "broker-disk-full",
        "the broker's disk is full until it has ended for lack of space",
        _fill_broker_disk,
        volume=BROKER_DISK,
    ),
    Scenario(
        "store-disk-full",
        "the object store's disk is full until commits fail; with space again it is restarted",
        _fill_store_disk,
        volume=STORE_DISK,
    ),
)
