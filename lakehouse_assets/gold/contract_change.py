"""The sensor that sees that a gold table has changed its meaning, and offers to compute its days again."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from hashlib import sha256
from typing import TYPE_CHECKING, Self

import dagster as dg

from contracts import Column, Table, table
from lakehouse_assets.describe import table_key
from lakehouse_assets.gold.jobs import GOLD_DAILY
from lakehouse_assets.gold.partitions import day_ranges, range_tags
from lakehouse_assets.gold.recipes import gold_recipes

if TYPE_CHECKING:
    from pyiceberg.table import Table as IcebergTable

MAX_RUNS_PER_TICK = 8
CHANGE = "change"
"""Metadata that tells one offer of a table from the next."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What the rows of a table depend on beside the events: its columns, each with its origin, and the query.

    ``formerly`` has the earlier names of columns that were renamed, which changes nothing in their rows.
    """

    version: str
    columns: dict[str, str]
    formerly: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, declared: Table, version: str) -> Self:
        """As the contract has it now."""
        return cls(
            version,
            {column.name: _origin(declared, column) for column in declared.columns},
            {column.name: list(column.formerly) for column in declared.columns if column.formerly},
        )

    @property
    def fingerprint(self) -> str:
        """Same for the same meaning."""
        meaning = {"version": self.version, "columns": self.columns}
        return sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:16]

    def differs_from(self, before: Self) -> str:
        """What rows computed ``before`` lack, in words; empty if nothing.

        A column that is gone does not count, nor one that has another name or another place.
        """
        then = {
            name: before.columns[known]
            for name in self.columns
            for known in (*self.formerly.get(name, ()), name)
            if known in before.columns
        }
        added = sorted(self.columns.keys() - then.keys())
        changed = sorted(name for name, origin in then.items() if self.columns[name] != origin)
        return "; ".join(
            part
            for part in (
                f"added {', '.join(added)}" if added else "",
                f"changed {', '.join(changed)}" if changed else "",
                "another query" if self.version != before.version else "",
            )
            if part
        )


@dataclass(slots=True)
class Cursor:
    """The meaning that each table was last seen with, and the runs that are still to be asked for."""

    seen: dict[str, Meaning]
    pending: list[tuple[str, str, str, str]]
    """Table, first and last day, and fingerprint."""

    @classmethod
    def from_json(cls, text: str | None) -> Self:
        """Read what :meth:`to_json` wrote; without it nothing was seen."""
        stored = json.loads(text) if text else {"seen": {}, "pending": []}
        seen = {identifier: Meaning(**meaning) for identifier, meaning in stored["seen"].items()}
        return cls(seen, [tuple(run) for run in stored["pending"]])

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self), sort_keys=True)


def watched() -> tuple[tuple[Table, str], ...]:
    """The tables that are watched, each with the version of its recipe."""
    return tuple((recipe.declared, recipe.version) for recipe in gold_recipes())


@dg.sensor(
    name="contract_change",
    job=GOLD_DAILY,
    description="Offers to compute the days of a gold table again, or does, after its contract or query changed",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    required_resource_keys={"settings", "catalog"},
)
def contract_change(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Compare what each table means with what it meant at the tick before.

    What the first tick sees is taken as it is. A table that does not have its new columns yet is left for a later
    tick. The setting ``automation_backfill`` says whether runs are started.
    """
    cursor = Cursor.from_json(context.cursor)
    starts = context.resources.settings.automation_backfill == "start"
    offers, waiting = [], []
    for declared, version in watched():
        now = Meaning.of(declared, version)
        change = now.differs_from(cursor.seen.get(declared.identifier, now))
        if change:
            table = context.resources.catalog.load_table(declared.identifier)
            if missing := now.columns.keys() - {column.name for column in table.schema().fields}:
                waiting.append(f"{declared.identifier} has no {', '.join(sorted(missing))} yet")
                continue
            days = _days_with_rows(table)
            if starts:
                cursor.pending += (
                    (declared.identifier, str(first), str(last), now.fingerprint)
                    for first, last in day_ranges(days)
                )
            elif days and _last_offer(context.instance, declared) != now.fingerprint:
                offers.append(_offer(declared, change, now.fingerprint, days))
                context.log.warning(offers[-1].description)
        cursor.seen[declared.identifier] = now
    requests = [_request(*run) for run in cursor.pending[:MAX_RUNS_PER_TICK]]
    del cursor.pending[:MAX_RUNS_PER_TICK]
    idle = f"`./lakehouse jobs upgrade`: {'; '.join(waiting)}" if waiting else "all tables mean what they meant"
    return dg.SensorResult(
        run_requests=requests,
        asset_events=offers,
        cursor=cursor.to_json(),
        skip_reason=None if requests or offers else idle,
    )


def _origin(declared: Table, column: Column) -> str:
    """Type of a column, and what it is computed from, under the names that those columns had first."""
    aggregation = column.aggregation
    if aggregation is None:
        places = (place.rpartition(".") for place in column.origins)
        return " ".join((column.type, *(f"{above}.{_first_name(above, name)}" for above, _, name in places)))
    names = [aggregation.table] if aggregation.table is not None else []
    above = aggregation.table or declared.derived_from[0]
    names += [_first_name(above, name) for name in (aggregation.column, aggregation.weight) if name is not None]
    return f"{column.type} {aggregation.function}({', '.join(names)})"


def _first_name(identifier: str, name: str) -> str:
    found = [column for column in table(identifier).columns if column.name == name]
    return found[0].formerly[0] if found and found[0].formerly else name


def _days_with_rows(table: "IcebergTable") -> set[date]:
    from lakehouse_assets.gold.late_arrivals import day_of  # a code location loads without it
    from resources.offsets import live_files

    current = table.current_snapshot()
    return set() if current is None else {day_of(file) for file in live_files(table, current)}


def _offer(declared: Table, change: str, fingerprint: str, days: set[date]) -> dg.AssetObservation:
    asset = table_key(declared).to_user_string()
    # the command makes runs of a month itself
    ranges = day_ranges(days, longest=len(days))
    commands = [f"./lakehouse backfill {asset} --from {first} --to {last}" for first, last in ranges]
    return dg.AssetObservation(
        table_key(declared),
        description=f"{declared.identifier}: {change}. Days that were computed before: {' ; '.join(commands)}",
        metadata={
            CHANGE: fingerprint,
            "changed": change,
            "commands": dg.MetadataValue.md("\n".join(f"    {command}" for command in commands)),
        },
    )


def _last_offer(instance: dg.DagsterInstance, declared: Table) -> object:
    """The fingerprint of the newest offer, so that a tick that is repeated offers nothing twice."""
    for record in instance.fetch_observations(table_key(declared), limit=1).records:
        observation = record.event_log_entry.asset_observation
        metadata: Mapping[str, dg.MetadataValue] = observation.metadata if observation else {}
        if CHANGE in metadata:
            return metadata[CHANGE].value
    return None


def _request(identifier: str, first: str, last: str, fingerprint: str) -> dg.RunRequest:
    layer, name = identifier.split(".")
    return dg.RunRequest(
        run_key=f"{identifier}:{first}:{last}:{fingerprint}",
        asset_selection=[dg.AssetKey([layer, name])],
        tags={
            **range_tags(date.fromisoformat(first), date.fromisoformat(last)),
            # after the runs of the schedules: readers wait for the running day
            "dagster/priority": "-1",
        },
    )
