"""The scenarios, in the order in which they run; the control, without a fault, comes first."""

from stack.chaos.scenarios import catalog, hot_path, operations, processes, storage
from stack.chaos.scenarios.model import Scenario

SCENARIOS: tuple[Scenario, ...] = (
    operations.CONTROL,
    *processes.SCENARIOS,
    *catalog.SCENARIOS,
    *storage.SCENARIOS,
    *hot_path.SCENARIOS,
    *operations.SCENARIOS,
)

QUICK = ("control", "taskmanager-kill", "catalog-hold", "catalog-hold-unguarded")
"""The proof of exactly-once in a few minutes."""
