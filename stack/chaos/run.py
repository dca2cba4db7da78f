"""Runs scenarios: one after the other in a stack, a new stack after one that failed."""

import random
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console

from audit.repair import repair
from audit.run import audit
from contracts import Family, LakehouseError, family
from resources.catalog import open_catalog
from stack.chaos.checks import Findings, arrived, check
from stack.chaos.deployment import Deployment
from stack.chaos.errors import ScenarioError, ScenarioSkippedError
from stack.chaos.load import FIRST_EVENT, Load, Published
from stack.chaos.patience import until
from stack.chaos.report import ChaosReport, ScenarioResult
from stack.chaos.scenarios.model import Scenario
from stack.chaos.trial import Trial

RATE = 3_000.0
"""Events per second of all families of a scenario."""
WARM_EVENTS = 5_000
FEWEST_EVENTS = 60_000
FEWEST_EVENTS_QUICK = 20_000
DRAIN_S = 300.0
SETTLE_S = 90.0
"""How long after bronze is complete the windows and late events may take: a few checkpoints."""
AUDIT_WAIT_S = 120.0


def run_chaos(
    folder: Path,
    toolchain: Path,
    scenarios: Sequence[Scenario],
    console: Console,
    *,
    seed: int,
    quick: bool = False,
) -> ChaosReport:
    """Run ``scenarios`` in their order; one that fails or raises is reported, and the others go on.

    Args:
        folder: where the homes of the stacks are made; those of stacks in which all went well are removed.
        toolchain: folder of the environments and jars.
        scenarios: what to run.
        console: where to say what is going on.
        seed: decides the events and when faults strike.
        quick: run the shortest form of each.

    Raises:
        StackError: a stack does not start.
    """
    report = ChaosReport(seed=seed, scenarios={})
    runner = _Runner(folder, toolchain, console, seed=seed, quick=quick)
    try:
        for scenario in scenarios:
            console.print(f"{scenario.name}: {scenario.description}", style="bold", markup=False)
            result = runner.run(scenario)
            report.scenarios[scenario.name] = result
            console.print(f"  {_verdict(result)}", markup=False)
    finally:
        runner.close(failed=False)
        report.kept = [str(home) for home in runner.kept]
    return report


class _Runner:
    """Holds the stack that scenarios share, and the event time that they have used up."""

    def __init__(self, folder: Path, toolchain: Path, console: Console, *, seed: int, quick: bool) -> None:
        self._folder = folder
        self._toolchain = toolchain
        self._console = console
        self._seed = seed
        self._quick = quick
        self._deployment: Deployment | None = None
        self._next_start: datetime = FIRST_EVENT
        self.kept: list[Path] = []

    def run(self, scenario: Scenario) -> ScenarioResult:
        """Run one scenario."""
        started = time.monotonic()
        try:
            result = self._try(scenario, self._stack_for(scenario))
        except ScenarioSkippedError as reason:
            return ScenarioResult(ok=True, skipped=True, detail=f"skipped: {reason}")
        except LakehouseError as error:
            result = ScenarioResult(ok=False, detail=str(error))
        result.seconds = round(time.monotonic() - started, 1)
        if scenario.volume is not None or not result.ok:
            self.close(failed=not result.ok)
        return result

    def close(self, *, failed: bool) -> None:
        """Stop the stack, if there is one; its home is kept where a scenario ``failed`` in it."""
        if self._deployment is None:
            return
        deployment, self._deployment = self._deployment, None
        deployment.close(remove=not failed)
        if failed:
            self.kept.append(deployment.home)

    def _stack_for(self, scenario: Scenario) -> Deployment:
        if scenario.volume is not None:
            self.close(failed=False)
        if self._deployment is None:
            self._say("starting a stack")
            self._deployment = Deployment(self._folder, self._toolchain, self._console, scenario.volume)
            self._deployment.start()
        self._deployment.await_ready()
        return self._deployment

    def _try(self, scenario: Scenario, deployment: Deployment) -> ScenarioResult:
        members = [family(name) for name in scenario.families]
        load = Load(
            deployment.settings,
            members,
            rate=RATE,
            seed=self._seed,
            start=None if scenario.live else self._next_start,
        )
        chance = random.Random(f"{self._seed} {scenario.name}")
        trial = Trial(deployment, load, members[0], chance, self._say, self._quick)
        load.start()
        try:
            recovery_s = self._inject(scenario, trial)
        finally:
            load.stop()
        if not scenario.live:
            self._next_start = load.close_windows()
        everything = [self._examine(scenario, trial, entry) for entry in load.published.values()]
        problems = [problem for findings in everything for problem in findings.problems]
        return ScenarioResult(
            ok=not problems,
            acknowledged=sum(findings.acknowledged for findings in everything),
            rows=sum(findings.rows for findings in everything),
            dead_letters=sum(findings.dead_letters for findings in everything),
            missing=sum(findings.missing for findings in everything),
            doubled=sum(findings.doubled for findings in everything),
            late=sum(findings.late for findings in everything),
            duplicates=sum(findings.duplicates for findings in everything),
            recovery_s=recovery_s,
            detail="; ".join(problems or [*trial.notes, f"{sum(f.windows for f in everything):,} windows equal"]),
        )

    def _inject(self, scenario: Scenario, trial: Trial) -> float:
        """Let the load get going, strike, and see the stack recover; returns how long that took, in seconds."""
        load = trial.load
        until(lambda: load.acknowledged >= WARM_EVENTS, f"{WARM_EVENTS:,} events are published")
        trial.await_commits()
        scenario.inject(trial)
        over = time.monotonic()
        trial.await_commits()
        recovery_s = round(time.monotonic() - over, 1)
        self._say(f"recovered after {recovery_s} s")
        fewest = FEWEST_EVENTS_QUICK if self._quick else FEWEST_EVENTS
        until(lambda: load.acknowledged >= fewest, f"{fewest:,} events are published")
        return recovery_s

    def _examine(self, scenario: Scenario, trial: Trial, published: Published) -> Findings:
        self._drain(trial, published)
        doubled = 0
        found: list[str] = []
        if scenario.doubles:
            doubled = self._repair(trial, published, found)
        findings = self._settle(trial, published)
        findings.problems += found
        findings.doubled += doubled
        if not findings.problems:
            findings.problems += scenario.verify(trial, published, findings)
        findings.problems += self._audit(trial, published.family)
        return findings

    def _drain(self, trial: Trial, published: Published) -> None:
        """Wait until all that was published has arrived, or it is clear that it does not."""

        def is_complete() -> bool:
            now = arrived(open_catalog(trial.settings), published)
            status.update(
                f"{published.family.name}: {now.missing:,} of {now.acknowledged:,} events are on their way"
            )
            return now.missing <= 0

        with self._console.status("draining") as status:
            try:
                until(is_complete, "everything has arrived", patience_s=DRAIN_S, poll_s=2)
            except ScenarioError:
                self._say(f"{published.family.name}: not everything has arrived after {DRAIN_S:.0f} s")

    def _settle(self, trial: Trial, published: Published) -> Findings:
        """Check until all holds: tables are committed one after the other, the last may still be missing."""
        last: list[Findings] = []

        def holds() -> bool:
            last[:] = [check(open_catalog(trial.settings), published)]
            return not last[0].problems

        with self._console.status(f"{published.family.name}: comparing with a recomputation"):
            try:
                until(holds, "all holds", patience_s=SETTLE_S, poll_s=2)
            except ScenarioError:
                self._say(f"{published.family.name}: what is wrong is wrong for good")
        return last[0]

    def _repair(self, trial: Trial, published: Published, problems: list[str]) -> int:
        """See that rows are doubled and that the audit sees it, and repair; returns how many rows were doubled."""
        now = arrived(open_catalog(trial.settings), published)
        doubled = now.rows - now.distinct
        if not doubled:
            problems.append("no row was doubled without the guard: this scenario and its like prove nothing")
            return 0
        [audited] = audit(trial.settings, [published.family], full=True, wait_s=AUDIT_WAIT_S).tables
        if audited.doubled != doubled:
            problems.append(f"the audit found {audited.doubled:,} doubled offsets, {doubled:,} rows are doubled")
        self._say(f"{doubled:,} rows are doubled; repairing")
        repaired = repair(trial.settings, published.family, wait_s=AUDIT_WAIT_S)
        if repaired.removed_rows != doubled:
            problems.append(f"the repair removed {repaired.removed_rows:,} rows, {doubled:,} were doubled")
        trial.notes.append(f"{doubled:,} rows doubled without the guard, all removed by the repair")
        return doubled

    def _audit(self, trial: Trial, member: Family) -> list[str]:
        with self._console.status(f"{member.name}: auditing everything"):
            report = audit(trial.settings, [member], full=True, wait_s=AUDIT_WAIT_S)
        return [f"audit of {table.table}: {line}" for table in report.tables for line in table.violations()]

    def _say(self, line: str) -> None:
        self._console.print(f"  {line}", markup=False)


def _verdict(result: ScenarioResult) -> str:
    return f"{'ok' if result.ok else 'FAILED'} ({result.seconds:.0f} s): {result.detail}"
