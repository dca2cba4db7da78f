"""Sensors that report in the background of a test."""

import threading
from datetime import timedelta

from contracts import Family
from settings import Settings
from sources.ledger import Ledger
from sources.simulate import SimulationOptions, run_simulation


class Simulation:
    """Live events with late and repeated ones, until it is stopped."""

    def __init__(self, settings: Settings, family: Family) -> None:
        self._stop = threading.Event()
        self._ledgers: list[Ledger] = []
        options = SimulationOptions(
            families=(family,),
            sensors=60,
            rate=400,
            late=0.02,
            # behind its minute, and within the five minutes that are still counted
            delay=timedelta(minutes=2),
            duplicates=0.02,
            malformed=0.02,
            seed=7,
        )
        self._thread = threading.Thread(
            target=lambda: self._ledgers.extend(run_simulation(options, settings, stop=self._stop))
        )
        self._thread.start()

    def end(self) -> Ledger:
        """Stop publishing, and return what was acknowledged."""
        self._stop.set()
        self._thread.join()
        return self._ledgers[0]
