"""What an audit reads: the tables, the broker and the cursors, and how long it waits for the collector."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from audit.broker import Broker, KafkaBroker
from audit.collector import Position, position, reached
from audit.cursor import CursorStore
from audit.lag import behind
from contracts import Family, bronze_events, dead_letters, families, silver_1m
from resources.catalog import open_catalog
from settings import Settings

POLL_S = 1.0


class Progress(Protocol):
    """Told what the audit is at, how much of it is done, and of how much."""

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        """Show it."""
        ...


def silent(_stage: str, _done: int, _total: int, /) -> None:
    """Progress that nobody looks at."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of one family as loaded together; the collector's position is never ahead of ``bronze``."""

    bronze: IcebergTable
    dead_letters: IcebergTable
    windows: IcebergTable
    position: Position | None


@dataclass(frozen=True, slots=True)
class Sources:
    """Where an audit looks; unit tests hand in a broker of their own."""

    catalog: Catalog
    broker: Broker
    cursors: CursorStore

    @classmethod
    def of(cls, settings: Settings) -> "Sources":
        """The sources of the platform."""
        return cls(open_catalog(settings), KafkaBroker(settings), CursorStore.of(settings))

    def load(self, family: Family) -> Tables:
        """Load the tables of ``family``, the dead letters first: what they are counted with is then there."""
        letters = self.catalog.load_table(dead_letters(families()).identifier)
        bronze = self.catalog.load_table(bronze_events(family).identifier)
        windows = self.catalog.load_table(silver_1m(family).identifier)
        return Tables(bronze, letters, windows, position(letters, family, bronze))

    def await_collector(
        self,
        family: Family,
        *,
        committed: Mapping[int, int],
        kept_from: Mapping[int, int],
        wait_s: float,
        progress: Progress,
    ) -> tuple[Tables, str | None]:
        """Wait until the collector has been through all that is in the table now and all that was ``committed``.

        Returns:
            The tables, and why they are not complete if ``wait_s`` seconds were not enough.
        """
        wanted = self.load(family).bronze.current_snapshot()

        def look() -> tuple[Tables, str | None]:
            progress(f"{bronze_events(family).identifier}: waiting for the collector", 0, 0)
            tables = self.load(family)
            return tables, _lag(tables, wanted)

        def is_incomplete(seen: tuple[Tables, str | None]) -> bool:
            tables, lag = seen
            collected = {} if tables.position is None else tables.position.next_offsets
            return lag is not None or bool(behind(self.broker, family.topic, committed, collected, kept_from))

        retrying = Retrying(
            retry=retry_if_result(is_incomplete), stop=stop_after_delay(wait_s), wait=wait_fixed(POLL_S)
        )
        try:
            return retrying(look)
        except RetryError as error:
            seen: tuple[Tables, str | None] = error.last_attempt.result()
            return seen


def _lag(tables: Tables, wanted: Snapshot | None) -> str | None:
    if wanted is None:
        return None
    proven = reached(tables.bronze, tables.position)
    if proven is not None and (proven.sequence_number or 0) >= (wanted.sequence_number or 0):
        return None
    at = "no snapshot yet" if tables.position is None else f"snapshot {tables.position.snapshot_id}"
    return (
        f"the collector of dead letters has reached {at} of {'.'.join(tables.bronze.name())}, not "
        f"{wanted.snapshot_id}: later rows are not proven; ./lakehouse status shows whether it runs"
    )
