"""A simulated city: the same seed, interval and number of sensors give the same events."""

from sources.simulate.run import SimulationOptions, run_simulation

__all__ = ["SimulationOptions", "run_simulation"]
