"""The commands ``simulate`` and ``replay``, ready to be registered with a Typer application."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from contracts import ContractError, Family, family
from resources.kafka import KafkaUnavailableError
from settings import load_settings
from sources.errors import DeliveryError, OptionError, SourceError
from sources.interrupt import stoppable
from sources.ledger import Ledger
from sources.replay import ReplayOptions, dry_run, run_replay
from sources.simulate import SimulationOptions, run_simulation
from sources.simulate.run import DEFAULT_DELAY, DEFAULT_SENSORS, check, expected_records

SHOWN_EVENTS = 10
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it: 128 and the number of the signal."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object last on standard output.")]
LedgerOption = Annotated[
    Path | None, typer.Option("--ledger", help="Folder for the ledger; by default <home>/ledgers.")
]


def _instant(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is no ISO date or time, such as 2026-11-01 or 2026-11-01T07:00"
        ) from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def simulate(
    *,
    families: Annotated[
        list[str] | None, typer.Option("--family", help="Family to simulate; repeatable, by default all.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(help="Events per second of all families together; nominal, silent sensors count."),
    ] = None,
    duration: Annotated[
        float | None, typer.Option(help="Seconds of a live simulation; without it until Ctrl-C.")
    ] = None,
    start: Annotated[
        datetime | None,
        typer.Option("--from", parser=_instant, help="Start of a past interval; UTC unless it says."),
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--to", parser=_instant, help="End of the past interval, exclusive.")
    ] = None,
    sensors: Annotated[int, typer.Option(help="Sensors of each family.")] = DEFAULT_SENSORS,
    seed: Annotated[int, typer.Option(help="Seed: the same one gives the same events.")] = 1,
    malformed: Annotated[float, typer.Option(help="Share of events with broken bytes, 0 to 1.")] = 0.0,
    late: Annotated[float, typer.Option(help="Share of events that come late, 0 to 1.")] = 0.0,
    duplicates: Annotated[float, typer.Option(help="Share of events that are sent twice, 0 to 1.")] = 0.0,
    delay: Annotated[
        float, typer.Option(help="Seconds that late events lie behind.")
    ] = DEFAULT_DELAY.total_seconds(),
    ledger: LedgerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish events of a simulated city, of now or of a past interval (--from, --to)."""
    with _errors_as_source_errors():
        options = SimulationOptions(
            families=tuple(_family(name) for name in dict.fromkeys(families or ())),
            sensors=sensors,
            seed=seed,
            rate=rate,
            duration=None if duration is None else timedelta(seconds=duration),
            start=start,
            end=end,
            malformed=malformed,
            late=late,
            duplicates=duplicates,
            delay=timedelta(seconds=delay),
            ledger_folder=ledger,
        )
        check(options)
        settings = load_settings()
        with stoppable() as stop, _progress_bar(expected_records(options)) as bar:
            ledgers = run_simulation(options, settings, bar, stop)
    _report(ledgers, as_json)
    # without an end, Ctrl-C is how a simulation ends
    _conclude(ledgers, interrupted=stop.is_set() and (duration is not None or end is not None))


def replay(
    file: Annotated[Path, typer.Argument(help="CSV, NDJSON or Parquet; text also as .gz, .xz or .zst.")],
    *,
    family_name: Annotated[str, typer.Option("--family", help="Family that the rows become events of.")],
    mapping: Annotated[
        Path, typer.Option(help="YAML file that says what the columns are; see examples/mappings.")
    ],
    speedup: Annotated[
        float | None, typer.Option(help="How many times faster than real time; by default as fast as possible.")
    ] = None,
    only_show: Annotated[
        bool, typer.Option("--dry-run", help="Show the first rows as events, send nothing.")
    ] = False,
    limit: Annotated[int | None, typer.Option(help="Read so many rows at most.")] = None,
    ledger: LedgerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish the rows of a file as events."""
    with _errors_as_source_errors():
        if only_show:
            options = ReplayOptions(file, _family(family_name), mapping, speedup, limit or SHOWN_EVENTS)
            _show(options, as_json)
            return
        options = ReplayOptions(file, _family(family_name), mapping, speedup, limit, ledger)
        settings = load_settings()
        with stoppable() as stop, _progress_bar(None) as bar:
            result = run_replay(options, settings, bar, stop)
    _report([result], as_json)
    _conclude([result], interrupted=stop.is_set())


def _family(name: str) -> Family:
    try:
        return family(name)
    except ContractError as error:
        raise OptionError(f"--family: {error}") from error


@contextmanager
def _errors_as_source_errors() -> Iterator[None]:
    try:
        yield
    except KafkaUnavailableError as error:
        raise SourceError(str(error)) from error


class _Bar:
    """A progress bar on standard error."""

    def __init__(self, progress: Progress, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total, rate="")

    def __call__(self, *, sent: int, acknowledged: int, waiting_for_broker: bool) -> None:
        elapsed = self._progress.tasks[self._task].elapsed or 0.0
        rate = f"{acknowledged / elapsed:,.0f}/s" if elapsed > 0 else ""
        self._progress.update(
            self._task, completed=acknowledged, rate="waiting for Kafka" if waiting_for_broker else rate
        )


@contextmanager
def _progress_bar(total: int | None) -> Iterator[_Bar]:
    columns = (
        SpinnerColumn(),
        TextColumn("events acknowledged"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield _Bar(progress, total)


def _show(options: ReplayOptions, as_json: bool) -> None:
    shown = dry_run(options)
    errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    for row in shown.rejected:
        errors.print(f"row {row.row}{f', column {row.column}' if row.column else ''}: {row.reason}")
    if as_json:
        events = [orjson.loads(event) for event in shown.events]
        typer.echo(orjson.dumps({"events": events, "rejected": shown.rejected}))
        return
    for event in shown.events:
        typer.echo(event)


def _report(ledgers: list[Ledger], as_json: bool) -> None:
    if not as_json:
        for ledger in ledgers:
            rejected = f", {ledger.rejected:,} rows rejected ({ledger.rejected_file})" if ledger.rejected else ""
            typer.echo(
                f"{ledger.family}: {ledger.acknowledged:,} events acknowledged, "
                f"{ledger.events_per_s:,.0f}/s{rejected}; ledger {ledger.path}"
            )
        return
    seconds = max((ledger.seconds for ledger in ledgers), default=0.0)
    acknowledged = sum(ledger.acknowledged for ledger in ledgers)
    typer.echo(
        orjson.dumps(
            {
                "complete": all(ledger.complete for ledger in ledgers),
                "acknowledged": acknowledged,
                "failed": sum(ledger.failed for ledger in ledgers),
                "unknown": sum(ledger.unknown for ledger in ledgers),
                "rejected": sum(ledger.rejected for ledger in ledgers),
                "seconds": seconds,
                "events_per_s": round(acknowledged / seconds, 1) if seconds else 0.0,
                "ledgers": [
                    {"path": str(ledger.path), **ledger.model_dump(mode="json", exclude={"events_by_minute"})}
                    for ledger in ledgers
                ],
            }
        )
    )


def _conclude(ledgers: list[Ledger], *, interrupted: bool) -> None:
    failed = sum(ledger.failed for ledger in ledgers)
    unknown = sum(ledger.unknown for ledger in ledgers)
    said = {"did not take": failed, "did not answer for": unknown}
    if found := [f"{what} {count:,} records" for what, count in said.items() if count]:
        raise DeliveryError(f"Kafka {' and '.join(found)}: see the ledger")
    if interrupted:
        raise typer.Exit(INTERRUPTED)
