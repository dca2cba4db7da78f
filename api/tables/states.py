"""What is known of a table beside its rows: how far its events reach, and what its checks say."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import BaseModel, Field
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot

from api.caching.file_lists import FileLists
from api.catalog import CatalogReader
from api.encoded import instant
from api.headers import Fields
from api.problems import UnavailableError
from api.quality.service import read_quality
from api.shared import Shared
from contracts import Table, quality_results
from contracts.quality import Verdict
from resources.freshness import Reach, newest_event_time_in, reach_at

MOST_SNAPSHOTS = 512
"""Of which the newest event is remembered: it never changes."""

QUALITY_DAYS = 7
"""How long a check is taken at its word."""
QUALITY_KEEP_S = 30.0
"""How long verdicts are used again; they are written once an hour."""
QUALITY_AGAIN_S = 600.0
"""How long they are used again while nothing was written: some get too old."""
FIRST_PATIENCE_S = 5.0
"""How long an answer waits for verdicts while there are none."""
PATIENCE_S = 0.02
"""How long it does afterwards; those of before serve while new ones are read."""

MILLISECOND = timedelta(milliseconds=1)
NONE = b"none"
"""In a header, what is null in an envelope."""


class StateFields(BaseModel):
    """What an envelope says of the data that was read."""

    reaches: datetime | None = Field(
        description="Up to when the snapshot holds what happened; null if that is not known, or it has no row"
    )
    freshness_ms: int | None = Field(
        description="How long ago that was when this was answered, in milliseconds; an answer that a cache has "
        "kept has that of now in its header `Lakehouse-Freshness-Ms`"
    )
    quality: Verdict | None = Field(
        description="The worst of what the table's checks said last, in a week; null if none said anything"
    )


@dataclass(frozen=True, slots=True)
class TableState:
    """How far what is read reaches, and the verdict of the table's checks; ``None`` is not known."""

    reach: Reach | None
    verdict: Verdict | None

    @property
    def freshness_ms(self) -> int | None:
        """How long ago that is; ``None`` where there is no row as well."""
        return None if self.reach is None or self.reach.lag is None else self.reach.lag // MILLISECOND

    @property
    def fields(self) -> dict[str, Any]:
        """Members of an envelope, those of :class:`StateFields`."""
        reaches = None if self.reach is None else self.reach.reaches
        return {"reaches": reaches, "freshness_ms": self.freshness_ms, "quality": self.verdict}

    @property
    def headers(self) -> Fields:
        """The same as header fields."""
        return state_headers(**self.fields)


def state_headers(reaches: datetime | None, freshness_ms: int | None, quality: Verdict | None) -> Fields:
    """Members of an envelope as header fields; what is not known is ``none``."""
    return [
        (b"lakehouse-reaches", NONE if reaches is None else instant(reaches)),
        (b"lakehouse-freshness-ms", NONE if freshness_ms is None else b"%d" % freshness_ms),
        (b"lakehouse-quality", NONE if quality is None else quality.encode()),
    ]


def snapshot_header(snapshot_id: str | None) -> tuple[bytes, bytes]:
    """The header field that names the snapshot of an answer."""
    return b"lakehouse-snapshot-id", NONE if snapshot_id is None else snapshot_id.encode()


class TableStates:
    """Knows the state of tables, read once for each snapshot; belongs to one event loop."""

    def __init__(self, reader: CatalogReader, file_lists: FileLists) -> None:
        self._reader = reader
        self._file_lists = file_lists
        self._newest: OrderedDict[tuple[str, int], Shared[datetime | None]] = OrderedDict()
        self._verdicts = Shared(self._load_verdicts, keep_s=QUALITY_KEEP_S)
        self._known_verdicts: Mapping[str, Verdict] = {}
        self._verdicts_of: tuple[int | None, float] = None, float("-inf")
        self._patience_s = FIRST_PATIENCE_S

    async def state(self, table: IcebergTable, declared: Table, snapshot: Snapshot | None) -> TableState:
        """What is known of ``snapshot``, now; the verdict is the table's.

        What the object store does not tell is ``None``: an answer does not fail for that.
        """
        return TableState(
            await self._known_reach(table, declared, snapshot), await self.verdict(declared.identifier)
        )

    async def reach(self, table: IcebergTable, declared: Table, snapshot: Snapshot | None) -> Reach:
        """How far ``snapshot`` reaches.

        Raises:
            UnavailableError: the object store does not answer.
        """
        return reach_at(await self.newest(table, declared, snapshot), declared, utc_now())

    async def newest(self, table: IcebergTable, declared: Table, snapshot: Snapshot | None) -> datetime | None:
        """The greatest event time in ``snapshot``, ``None`` if it has no rows.

        Raises:
            UnavailableError: the object store does not answer.
        """
        if snapshot is None:
            return None
        key = declared.identifier, snapshot.snapshot_id
        if key not in self._newest:
            read = partial(self._read_newest, table, declared, snapshot)
            self._newest[key] = Shared(partial(self._reader.read, read), keep_s=float("inf"))
            if len(self._newest) > MOST_SNAPSHOTS:
                self._newest.popitem(last=False)
        self._newest.move_to_end(key)
        return await self._newest[key].get()

    def _read_newest(self, table: IcebergTable, declared: Table, snapshot: Snapshot) -> datetime | None:
        manifests = self._file_lists.manifests(table, snapshot)
        return newest_event_time_in(table, snapshot, declared, manifests)

    async def verdict(self, identifier: str) -> Verdict | None:
        """The worst of what the table's checks said last; ``None`` if there were none, or it is not known."""
        if (verdicts := self._verdicts.held) is not None:
            return verdicts.get(identifier)
        try:
            async with asyncio.timeout(self._patience_s):
                return (await self._verdicts.get()).get(identifier)
        except TimeoutError:
            return self._known_verdicts.get(identifier)

    async def _known_reach(self, table: IcebergTable, declared: Table, snapshot: Snapshot | None) -> Reach | None:
        try:
            return await self.reach(table, declared, snapshot)
        except UnavailableError:
            return None

    async def _load_verdicts(self) -> Mapping[str, Verdict]:
        try:
            table = await self._reader.table(quality_results().identifier)
            snapshot = table.current_snapshot()
            read_id, read_at = self._verdicts_of
            is_old = time.monotonic() > read_at + QUALITY_AGAIN_S
            if snapshot is not None and (snapshot.snapshot_id != read_id or is_old):
                found = await self._reader.read(partial(read_quality, table, days=QUALITY_DAYS))
                self._known_verdicts = {each.table: each.verdict for each in found.tables}
                self._verdicts_of = snapshot.snapshot_id, time.monotonic()
            self._patience_s = PATIENCE_S
        except UnavailableError:
            return self._known_verdicts  # the reader has logged why
        return self._known_verdicts


def utc_now() -> datetime:
    """The time at which a request is answered."""
    return datetime.now(UTC)


async def _states(request: Request) -> TableStates:
    states: TableStates = request.app.state.states
    return states


States = Annotated[TableStates, Depends(_states)]
