"""Follows one run of a source through bronze, silver, gold and the API, and says whether the counts agree."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from pydantic import BaseModel
from pyiceberg.catalog import Catalog
from rich.console import Console
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from contracts import Table, bronze_events, families, family, gold_hourly, silver_1m
from resources.dagster_client import DagsterClient
from settings import Settings
from sources.ledger import Ledger
from stack.demo import counts
from stack.demo.counts import Interval
from stack.errors import StackError

PATIENCE_S = 300
GOLD_PATIENCE_S = 1800
POLL_S = 1.0


class FamilyResult(BaseModel):
    """What became of one family's events, in rows; delays are in seconds after the last acknowledgement."""

    family: str
    acknowledged: int
    rejected: int
    bronze_rows: int
    silver_windows: int
    silver_events: int
    silver_expected: int | None
    gold_rows: int
    gold_events: int
    gold_expected: int
    api_rows: int
    bronze_delay_s: float
    silver_delay_s: float
    gold_delay_s: float
    api_delay_s: float

    @property
    def agrees(self) -> bool:
        """Whether every count is exactly what the ledger says."""
        return (
            self.bronze_rows == self.acknowledged
            and self.silver_expected in {None, self.silver_events}
            and self.gold_events == self.gold_expected
            and self.api_rows == self.gold_rows
        )


class Follower:
    """Follows the ledgers of one run."""

    def __init__(self, settings: Settings, catalog: Catalog, console: Console) -> None:
        self._settings = settings
        self._catalog = catalog
        self._console = console

    def follow(self, ledgers: list[Ledger], closed_until: datetime | None) -> list[FamilyResult]:
        """Wait until the events of all ledgers are in every layer and compare.

        Args:
            ledgers: one per family.
            closed_until: windows that end by then must be in silver; ``None`` where the order of the events
                leaves open which of them are late, so that silver is only reported.

        Raises:
            StackError: a layer does not get there in time.
        """
        acknowledged_at = time.monotonic()
        delays: dict[tuple[str, str], float] = {}

        def reached(layer: str, ledger: Ledger) -> None:
            delays[layer, ledger.family] = time.monotonic() - acknowledged_at

        for ledger in ledgers:
            self.await_bronze([ledger])
            reached("bronze", ledger)
        for ledger in ledgers:
            self._await_silver(ledger, closed_until)
            reached("silver", ledger)
        self._materialize(ledgers)
        for ledger in ledgers:
            reached("gold", ledger)
        results = []
        for ledger in ledgers:
            served = counts.api_rows(self._settings, gold_hourly(family(ledger.family)), counts.days_of(ledger))
            reached("api", ledger)
            results.append(self._result(ledger, closed_until, served, delays))
        return results

    def next_free_minute(self) -> datetime | None:
        """The minute after the newest event of any family; ``None`` when there is no event yet."""
        newest = [
            found
            for declared in families()
            if (found := counts.newest_event_time(self._catalog, bronze_events(declared))) is not None
        ]
        return max(newest).replace(second=0, microsecond=0) + timedelta(minutes=1) if newest else None

    def await_bronze(self, ledgers: list[Ledger]) -> None:
        """Wait until every acknowledged event is in bronze.

        Raises:
            StackError: they do not arrive in time.
        """
        for ledger in ledgers:
            bronze = bronze_events(family(ledger.family))
            self._await(
                f"{bronze.identifier} to hold {ledger.acknowledged} rows",
                partial(counts.rows_of_run, self._catalog, bronze, ledger),
                ledger.acknowledged,
            )

    def _await_silver(self, ledger: Ledger, closed_until: datetime | None) -> None:
        silver = silver_1m(family(ledger.family))
        if closed_until is None:
            self._await_next_snapshot(silver)
            return
        interval = Interval(counts.minutes_of(ledger).start, closed_until)
        expected = counts.events_before(ledger, closed_until)
        self._await(
            f"{silver.identifier} to count {expected} events",
            lambda: counts.windows_and_events(self._catalog, silver, interval)[1],
            expected,
        )

    def _await_next_snapshot(self, table: Table) -> None:
        """Wait for one more commit: windows that closed with the last event are in it."""
        before = self._snapshots(table)
        self._await(f"{table.identifier} to be committed again", lambda: self._snapshots(table) - before, 1)

    def _snapshots(self, table: Table) -> int:
        return len(self._catalog.load_table(table.identifier).metadata.snapshots)

    def _materialize(self, ledgers: list[Ledger]) -> None:
        days = [counts.days_of(ledger) for ledger in ledgers]
        first = min(interval.start for interval in days).date()
        last = max(interval.end for interval in days).date() - timedelta(days=1)
        self._console.print(f"  Dagster materializes the hourly tables of {first} to {last}")
        with DagsterClient(self._settings.dagster_url) as client:
            run_id = client.launch("gold_hourly", first=first, last=last)
            client.wait(
                run_id,
                timeout_s=GOLD_PATIENCE_S,
                on_status=lambda status: self._console.print(f"    run {run_id[:8]}: {status.lower()}"),
            )

    def _result(
        self,
        ledger: Ledger,
        closed_until: datetime | None,
        served: int,
        delays: dict[tuple[str, str], float],
    ) -> FamilyResult:
        declared = family(ledger.family)
        days = counts.days_of(ledger)
        minutes = counts.minutes_of(ledger)
        windows = Interval(minutes.start, closed_until or minutes.end)
        silver_windows, silver_events = counts.windows_and_events(self._catalog, silver_1m(declared), windows)
        gold_rows, gold_events = counts.windows_and_events(self._catalog, gold_hourly(declared), days)
        bronze = bronze_events(declared)
        return FamilyResult(
            family=ledger.family,
            acknowledged=ledger.acknowledged,
            rejected=ledger.rejected,
            bronze_rows=counts.rows_of_run(self._catalog, bronze, ledger),
            silver_windows=silver_windows,
            silver_events=silver_events,
            silver_expected=None if closed_until is None else counts.events_before(ledger, closed_until),
            gold_rows=gold_rows,
            gold_events=gold_events,
            gold_expected=counts.distinct_events(self._catalog, bronze, days),
            api_rows=served,
            **{f"{layer}_delay_s": delays[layer, ledger.family] for layer in ("bronze", "silver", "gold", "api")},
        )

    def _await(self, what: str, look: Callable[[], int], expected: int) -> None:
        retrying = Retrying(
            retry=retry_if_result(lambda found: found < expected),
            stop=stop_after_delay(PATIENCE_S),
            wait=wait_fixed(POLL_S),
        )
        with self._console.status(f"waiting for {what}"):
            try:
                retrying(look)
            except RetryError as error:
                raise StackError(
                    f"waited {PATIENCE_S} s for {what} and found {error.last_attempt.result()}: "
                    "./lakehouse status and ./lakehouse logs show what stands still"
                ) from error
        self._console.print(f"  {what}: done")
