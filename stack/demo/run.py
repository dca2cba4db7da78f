"""The demo: starts the stack, streams, follows the events through every layer, and reports."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from contracts import families, family
from resources.catalog import open_catalog
from settings import Settings
from sources.interrupt import stoppable
from sources.ledger import Ledger
from sources.replay import ReplayOptions, dry_run, run_replay
from sources.simulate.run import SimulationOptions, expected_records, run_simulation
from stack.demo.follow import FamilyResult, Follower
from stack.demo.progress import source_progress
from stack.local import lifecycle

HISTORY = timedelta(hours=2)
SENSORS = 200
SHORTEST_HISTORY = timedelta(minutes=4)
LIVE_RATE = 500.0


class DemoInput(BaseModel):
    """A file of the user's own to stream instead of simulated sensors."""

    file: Path
    family: str
    mapping: Path


class DemoResult(BaseModel):
    """Outcome of the demo; ``ok`` when every count agrees with the ledger."""

    ok: bool
    families: list[FamilyResult]


def run_demo(
    home: Path, toolchain: Path, console: Console, *, own: DemoInput | None, once: bool, choose_ports: bool
) -> DemoResult:
    """Run the demo to its report; with ``once`` the stack is stopped again, otherwise it goes on streaming
    until Ctrl-C and then stops.

    Raises:
        StackError: the stack does not start, or a layer does not get its rows in time.
        SourceError: the input cannot be used.
    """
    if own is not None:
        dry_run(_replay_options(own))  # what is wrong with the input is told before anything starts
    settings = lifecycle.up(home, toolchain, console, choose_ports=choose_ports)
    try:
        follower = Follower(settings, open_catalog(settings), console)
        ledgers, closed_until = _stream(settings, follower, console, own)
        results = follower.follow(ledgers, closed_until)
        result = DemoResult(ok=all(family_result.agrees for family_result in results), families=results)
        _report(result, settings, console)
        if not once:
            _stream_on(settings, console)
    finally:
        console.print("stopping the stack")
        lifecycle.down(settings, console)
    return result


def _stream(
    settings: Settings, follower: Follower, console: Console, own: DemoInput | None
) -> tuple[list[Ledger], datetime | None]:
    if own is not None:
        with source_progress(console, f"streaming {own.file.name}", None) as progress:
            return [run_replay(_replay_options(own), settings, progress)], None
    now = datetime.now(UTC).replace(microsecond=0)
    # events that lie before those of an earlier run would be late, and so not in the windows
    start = max(now - HISTORY, follower.next_free_minute() or now - HISTORY)
    if now - start < SHORTEST_HISTORY:
        live = SimulationOptions(sensors=SENSORS, duration=SHORTEST_HISTORY)
        ledgers = _simulate(live, settings, console)
    else:
        ledgers = _stream_history(start, now, settings, follower, console)
    return ledgers, _closed_until(ledgers)


def _replay_options(own: DemoInput) -> ReplayOptions:
    return ReplayOptions(path=own.file, family=family(own.family), mapping=own.mapping)


def _stream_history(
    start: datetime, end: datetime, settings: Settings, follower: Follower, console: Console
) -> list[Ledger]:
    """Stream the interval as fast as possible, after one report of each sensor has arrived.

    A partition that was idle does not hold back the watermark until its first event is read. At full speed the
    first partition to be read would carry the watermark minutes ahead of the others, whose events would be late.
    """
    turn = start + max(declared.reporting_interval for declared in families())
    first = _simulate(SimulationOptions(sensors=SENSORS, start=start, end=turn), settings, console)
    follower.await_bronze(first)
    rest = _simulate(SimulationOptions(sensors=SENSORS, start=turn, end=end), settings, console)
    return [earlier.joined(later) for earlier, later in zip(first, rest, strict=True)]


def _simulate(options: SimulationOptions, settings: Settings, console: Console) -> list[Ledger]:
    with source_progress(console, "streaming sensors", expected_records(options)) as progress:
        return run_simulation(options, settings, progress)


def _closed_until(ledgers: list[Ledger]) -> datetime:
    """End of the last window that the watermark has certainly passed.

    Every partition has sensors that report within the last interval, so its watermark is at most that interval
    and the permitted disorder behind the end of the simulated time.
    """
    newest = min(max(datetime.fromisoformat(text) for text in ledger.events_by_minute) for ledger in ledgers)
    slack = max(declared.out_of_orderness + 2 * declared.reporting_interval for declared in families())
    return (newest - slack).replace(second=0, microsecond=0)


def _stream_on(settings: Settings, console: Console) -> None:
    console.print("streaming on; Ctrl-C stops the stack")
    options = SimulationOptions(sensors=SENSORS, rate=LIVE_RATE)
    with stoppable() as stop, source_progress(console, "streaming sensors", None) as progress:
        run_simulation(options, settings, progress, stop)


def _report(result: DemoResult, settings: Settings, console: Console) -> None:
    table = Table(
        "family",
        "acknowledged",
        "bronze rows",
        "silver windows",
        "events in them",
        "gold rows",
        "events in them",
        "API rows",
        "seconds to bronze, silver, gold, API",
        "agree",
        box=None,
    )
    for line in result.families:
        delays = (line.bronze_delay_s, line.silver_delay_s, line.gold_delay_s, line.api_delay_s)
        events = str(line.silver_events)
        if line.silver_expected is not None and line.silver_expected < line.acknowledged:
            events += f" of {line.silver_expected} in closed windows"
        table.add_row(
            line.family,
            str(line.acknowledged) + (f" (and {line.rejected} rejected)" if line.rejected else ""),
            str(line.bronze_rows),
            str(line.silver_windows),
            events,
            str(line.gold_rows),
            str(line.gold_events),
            str(line.api_rows),
            ", ".join(f"{delay:.0f}" for delay in delays),
            "yes" if line.agrees else "NO",
        )
    console.print(table)
    console.print(f"Dagster {settings.dagster_url}   API {settings.api_url}/docs   Flink {settings.flink_url}")
