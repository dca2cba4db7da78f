"""Starts the load generator for a plan and waits for its figures."""

import subprocess
import sys

from benchmarks.load.generator import GIVE_UP_S
from benchmarks.load.plan import LoadPlan, LoadResult
from contracts import LakehouseError
from settings.model import ROOT

START_S = 30.0


class LoadError(LakehouseError):
    """The load generator failed."""


def run_load(plan: LoadPlan) -> LoadResult:
    """Run ``plan`` in a process of its own; headers, which may hold a key, do not show in the process list.

    Raises:
        LoadError: the server does not listen, or nothing was answered.
    """
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"],
        input=plan.model_dump_json(),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=START_S + plan.warm_up_s + plan.seconds + GIVE_UP_S,
        check=False,
    )
    if process.returncode:
        reason = (process.stderr.strip().splitlines() or ["no reason was given"])[-1]
        raise LoadError(f"the load generator failed: {reason}")
    return LoadResult.model_validate_json(process.stdout)
