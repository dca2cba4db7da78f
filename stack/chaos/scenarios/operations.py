"""No fault at all, and what people do while events keep coming."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

from contracts import dead_letters, families
from resources.catalog import open_catalog
from settings.model import ROOT
from stack.chaos.checks import Findings
from stack.chaos.errors import ScenarioError
from stack.chaos.load import Published, publish, wire_time
from stack.chaos.scenarios.model import Scenario
from stack.chaos.trial import Trial

AHEAD = timedelta(hours=5)
AHEAD_EVENTS = 600
AHEAD_SENSOR = "clock-ahead"
LATE_SHARE = 0.05
"""Of all events; the load makes one in a hundred late, a watermark that a clock pushed would make nearly all."""
COMPACTIONS = 2


def _nothing(trial: Trial) -> None:
    trial.await_commits(2)


def _jump(trial: Trial) -> None:
    """A producer whose clock is hours ahead, among the others."""
    trial.await_commits()
    moment = datetime.now(UTC) + AHEAD
    events = [
        {
            "event_id": f"{AHEAD_SENSOR}-{number}",
            "sensor_id": f"{AHEAD_SENSOR}-{number % 50}",
            "event_time": wire_time(moment + timedelta(milliseconds=number)),
        }
        for number in range(AHEAD_EVENTS)
    ]
    publish(trial.settings, trial.family.topic, events)
    entry = trial.load.published[trial.family.name]
    entry.acknowledged += len(events)
    entry.invalid += len(events)
    trial.await_commits(2)


def _left_others_alone(trial: Trial, published: Published, findings: Findings) -> list[str]:
    letters = open_catalog(trial.settings).load_table(dead_letters(families()).identifier)
    ahead = (
        letters.scan(f"topic == '{published.family.topic}' and error_class == 'clock_ahead'").to_arrow().num_rows
    )
    problems = []
    if ahead != AHEAD_EVENTS:
        problems.append(f"{ahead} dead letters are clock_ahead, {AHEAD_EVENTS} were")
    if findings.late > LATE_SHARE * findings.acknowledged:
        problems.append(f"{findings.late:,} events were late: the clock pushed the watermark")
    return problems


def _compact(trial: Trial) -> None:
    command = [sys.executable, "-m", "stack.chaos.compaction", trial.bronze]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAVA_HOME": str(trial.deployment.java_home)}
    for _ in range(COMPACTIONS):
        trial.await_commits(2)
        trial.say(f"compacting {trial.bronze}")
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ScenarioError(f"compaction failed: {done.stderr.strip()[-500:]}")
        trial.notes.append(done.stdout.strip())


def _down_and_up(trial: Trial) -> None:
    trial.await_commits()
    trial.say("down")
    trial.deployment.down()
    trial.say("up")
    trial.deployment.start()


CONTROL = Scenario(
    "control", "no fault: what is checked holds by itself", _nothing, families=("traffic", "weather")
)

SCENARIOS = (
    Scenario(
        "clock-jump",
        "a producer whose clock jumps ahead by hours: its events are dead letters, the others are unaffected",
        _jump,
        verify=_left_others_alone,
    ),
    Scenario("compaction-during-ingest", "Spark rewrites the data files of bronze while it is written", _compact),
    Scenario("down-up", "down in the middle, and up again", _down_and_up, families=("traffic", "weather")),
)
