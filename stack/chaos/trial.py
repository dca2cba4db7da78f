"""What a scenario works with: a running stack under load, and the ways to hurt it and to see that it goes on."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from contracts import Family, bronze_events
from settings import Settings
from stack.chaos.deployment import Deployment
from stack.chaos.load import Load
from stack.chaos.patience import PATIENCE_S, until
from stack.jobs.flink_rest import FlinkRest, FlinkUnavailableError
from stack.jobs.state import load_state
from stack.local.http_probe import get_json

OVERDUE_S = 45.0
"""Age of the newest checkpoint at which it is clear that none will be complete; one is due every few seconds."""


@dataclass(slots=True)
class Trial:
    """One run of a scenario.

    ``family`` is the one that faults aim at. ``quick`` asks for the shortest form. ``notes`` are added to the
    result.
    """

    deployment: Deployment
    load: Load
    family: Family
    random: random.Random
    say: Callable[[str], None]
    quick: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        """Settings of a reader of this stack."""
        return self.deployment.settings

    @property
    def bronze(self) -> str:
        """Name of the bronze table that faults aim at."""
        return bronze_events(self.family).identifier

    def kill(self, service: str) -> None:
        """Kill a service; the supervisor starts it again."""
        self.say(f"killing {service}")
        self.deployment.kill(service)

    def await_commits(self, count: int = 1) -> None:
        """Wait for further commits to bronze.

        Raises:
            ScenarioError: they do not come.
        """
        proxy = self.deployment.before_catalog
        wanted = proxy.landed(self.bronze) + count

        def landed() -> bool:
            self.load.check()
            return proxy.landed(self.bronze) >= wanted

        until(landed, f"{self.bronze} is committed to")

    def await_checkpoint(self) -> None:
        """Wait until the job completes a checkpoint.

        Raises:
            ScenarioError: it does not.
        """
        seen: list[tuple[str | None, int]] = []

        def completed() -> bool:
            self.load.check()
            job_id = load_state(self.settings, self.family.name).job_id
            try:
                now = (job_id, FlinkRest(self.settings.flink_url).completed_checkpoints(job_id or ""))
            except FlinkUnavailableError:
                return False
            seen.append(now)
            return now[0] == seen[0][0] and now[1] > seen[0][1]

        until(completed, f"the job of {self.family.name} completes a checkpoint", poll_s=0.05)

    def await_trouble(self) -> None:
        """Wait until a checkpoint of the job fails or is long overdue, or the job fails.

        Raises:
            ScenarioError: the job goes on undisturbed.
        """
        job_id = load_state(self.settings, self.family.name).job_id
        failed: list[int] = []

        def is_troubled() -> bool:
            self.load.check()
            checkpoints = get_json(f"{self.settings.flink_url}/jobs/{job_id}/checkpoints")
            job = get_json(f"{self.settings.flink_url}/jobs/{job_id}")
            if not isinstance(checkpoints, dict) or not isinstance(job, dict):
                return False
            failed.append(checkpoints["counts"]["failed"])
            completed = checkpoints["latest"]["completed"]
            # clients of the store try again for minutes before they fail
            overdue = completed is not None and time.time() - completed["latest_ack_timestamp"] / 1000 > OVERDUE_S
            return job["state"] != "RUNNING" or failed[-1] > failed[0] or overdue

        until(is_troubled, f"the job of {self.family.name} fails")

    def await_task_managers(self, count: int) -> None:
        """Wait until the JobManager counts ``count`` TaskManagers.

        Raises:
            ScenarioError: it does not.
        """

        def counted() -> bool:
            overview = get_json(f"{self.settings.flink_url}/overview")
            return isinstance(overview, dict) and overview["taskmanagers"] == count

        until(counted, f"the JobManager counts {count} TaskManagers")

    def pause(self, seconds: float) -> None:
        """Let the fault last for ``seconds``."""
        time.sleep(seconds)

    def await_event(self, is_set: Callable[[], bool], what: str) -> None:
        """Wait for something that a proxy tells.

        Raises:
            ScenarioError: it does not happen.
        """

        def happened() -> bool:
            self.load.check()
            return is_set()

        until(happened, what, patience_s=PATIENCE_S, poll_s=0.05)
