"""The sensor that has a closed day computed again when late events have come for it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Self, TypeVar

import dagster as dg

from contracts import anomalies, city_hourly, families, gold_daily, gold_hourly, late_events, sensor_health
from lakehouse_assets.describe import table_key
from lakehouse_assets.gold.debounce import QUIET, Batch, FamilyDay, Recomputation, decide
from lakehouse_assets.gold.jobs import DAY_CLOSES_AFTER, GOLD_DAILY
from lakehouse_assets.gold.partitions import FIRST_DAY, range_tags

if TYPE_CHECKING:
    from pyiceberg.table import Table as IcebergTable

FAMILIES = {member.name: member for member in families()}
MAX_RUNS_PER_TICK = 8
EVENTS_TAG = "lakehouse/late_events"
"""Tag of a run: how many late events it was started for."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the table of late events is read, and the days that were not asked for yet.

    A sequence number counts the commits of one table, named by its UUID; it only grows.
    """

    table_uuid: str
    sequence_number: int
    pending: dict[FamilyDay, Batch] = field(default_factory=dict)

    @classmethod
    def at_end_of(cls, table: "IcebergTable") -> Self:
        """Nothing pending, and all that is in ``table`` now counts as read."""
        return cls(str(table.metadata.table_uuid), _newest(table))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what :meth:`to_json` wrote."""
        stored = json.loads(text)
        return cls(
            stored["table_uuid"],
            stored["sequence_number"],
            {
                (family, date.fromisoformat(day)): Batch(_instant(first), _instant(last), events, sequence_number)
                for family, days in stored["pending"].items()
                for day, (first, last, events, sequence_number) in days.items()
            },
        )

    def to_json(self) -> str:
        """As text, short: a load of years of history has thousands of days pending, and each tick stores it."""
        pending: dict[str, dict[str, list[float]]] = {}
        for (family, day), batch in sorted(self.pending.items()):
            seen = [batch.first_seen.timestamp(), batch.last_seen.timestamp()]
            pending.setdefault(family, {})[day.isoformat()] = [*seen, batch.events, batch.sequence_number]
        stored = {"table_uuid": self.table_uuid, "sequence_number": self.sequence_number, "pending": pending}
        return json.dumps(stored, separators=(",", ":"))


@dg.sensor(
    name="late_data",
    job=GOLD_DAILY,
    description="Computes closed days again that late events have come for, once for a batch of events",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    required_resource_keys={"catalog"},
)
def late_data(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Read what was committed since the tick before, and ask for the days that have had no more for a while.

    The first tick begins at the end of the table. Days that the daily schedule has not closed yet are left to it.
    """
    from lakehouse_assets.gold.late_arrivals import late_arrivals  # a code location loads without it

    table = context.resources.catalog.load_table(late_events(families()).identifier)
    if not context.cursor:
        return dg.SensorResult(
            cursor=Cursor.at_end_of(table).to_json(),
            skip_reason="begins with the late events that come from now on",
        )
    cursor, now = Cursor.from_json(context.cursor), utc_now()
    # of a table that was created again all is new
    after = cursor.sequence_number if cursor.table_uuid == str(table.metadata.table_uuid) else 0
    arrivals = late_arrivals(table, after=after, wanted=lambda day: _is_closed(day, now))
    runs, pending = decide(_known(cursor.pending), _known(arrivals), now, most=MAX_RUNS_PER_TICK)
    for run in runs:
        context.log.info(f"{run.family} {run.first} to {run.last}: computed again for {run.events} late events")
    return dg.SensorResult(
        run_requests=list(_requests(runs)),
        cursor=Cursor(str(table.metadata.table_uuid), max(after, _newest(table)), pending).to_json(),
        skip_reason=None if runs else f"{len(pending)} days wait until no more late events come for them",
    )


def utc_now() -> datetime:
    """The time of the tick."""
    return datetime.now(UTC)


def _is_closed(day: date, now: datetime) -> bool:
    """Whether the daily schedule has closed the day, or will before what came now is asked for."""
    if day < date.fromisoformat(FIRST_DAY):
        return False
    end = datetime.combine(day, time(tzinfo=UTC)) + timedelta(days=1)
    return now + QUIET >= end + DAY_CLOSES_AFTER


def _known(by_day: Mapping[FamilyDay, T]) -> dict[FamilyDay, T]:
    """Without the families that no contract declares any more."""
    return {key: value for key, value in by_day.items() if key[0] in FAMILIES}


def _requests(runs: list[Recomputation]) -> Iterator[dg.RunRequest]:
    for run in runs:
        member = FAMILIES[run.family]
        yield dg.RunRequest(
            run_key=run.run_key,
            asset_selection=[table_key(of(member)) for of in (gold_hourly, gold_daily)]
            + [table_key(of(families())) for of in (city_hourly, sensor_health, anomalies)],
            tags={
                **range_tags(run.first, run.last),
                # after the runs of the schedules: readers wait for the running day
                "dagster/priority": "-1",
                EVENTS_TAG: str(run.events),
            },
        )


def _newest(table: "IcebergTable") -> int:
    current = table.current_snapshot()
    return 0 if current is None else current.sequence_number or 0


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
