"""What a schedule asks for at each of its ticks, as a rule that a file can state.

A schedule of Dagster is a function. It is called for ticks around the ends of months and years, a leap day, and
the days on which clocks change; a rule stands for it only if it gives the same answer for every one of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import dagster as dg
from dagster._utils.schedules import schedule_execution_time_iterator

from lakehouse_assets.airflow_export.model import DaysBack
from lakehouse_assets.gold.partitions import RANGE_END, RANGE_START

if TYPE_CHECKING:
    from dagster import RepositoryDefinition

PROBED_FROM = (
    datetime(2024, 2, 27, tzinfo=UTC),
    datetime(2025, 12, 30, tzinfo=UTC),
    datetime(2026, 3, 28, tzinfo=UTC),
    datetime(2026, 10, 24, tzinfo=UTC),
)
"""Before a leap day, a year's end, and the changes to and from daylight-saving time."""
PROBED_FOR = timedelta(days=4)
PROBED_TICKS = 8
"""Ticks that are looked at even if they are further apart than :data:`PROBED_FOR`."""
OFFSETS = (*(timedelta(days=days) for days in range(32)), *(timedelta(hours=hours) for hours in range(1, 48)))
"""Whole days first: a rule reads best with those."""
OWN_TAGS = frozenset(
    {"dagster/schedule_name", "dagster/partition", "dagster/partition_set", RANGE_START, RANGE_END}
)


class NoRuleError(Exception):
    """No rule says what the schedule asks for; the message says what stands against it."""


@dataclass(frozen=True, slots=True)
class TickRule:
    """What each tick asks for; ``run_config_at`` has the times of the day that differ from ``run_config``."""

    days: DaysBack | None
    run_config: Mapping[str, Any]
    run_config_at: Mapping[str, Mapping[str, Any]]


def tick_rule(schedule: dg.ScheduleDefinition, repository: "RepositoryDefinition") -> TickRule:
    """The rule that says what ``schedule`` asks for.

    Raises:
        NoRuleError: there is none.
    """
    asked = [(tick, _request(schedule, repository, tick)) for tick in probed_ticks(schedule)]
    zone = schedule.execution_timezone or "UTC"
    for _, request in asked:
        other = sorted(set(request.tags) - OWN_TAGS)
        if other or request.asset_selection or request.asset_check_keys:
            raise NoRuleError(f"its requests choose assets or carry tags ({', '.join(other) or 'none'})")
    ranges = [(tick, _days(request)) for tick, request in asked]
    configs = [(tick, _plain(request.run_config)) for tick, request in asked]
    default, at = _by_time_of_day(configs)
    if at and zone != "UTC":
        raise NoRuleError(f"its run configuration depends on the time of the day in {zone}")
    return TickRule(_days_back(ranges, zone), default, at)


def probed_ticks(schedule: dg.ScheduleDefinition) -> Iterator[datetime]:
    """The ticks that stand for all.

    Raises:
        NoRuleError: it has more than one cron line.
    """
    cron, zone = schedule.cron_schedule, schedule.execution_timezone or "UTC"
    if not isinstance(cron, str):
        raise NoRuleError("it has more than one cron line")
    for start in PROBED_FROM:
        for number, tick in enumerate(schedule_execution_time_iterator(start.timestamp(), cron, zone)):
            if number >= PROBED_TICKS and tick >= start + PROBED_FOR:
                break
            yield tick


def _request(schedule: dg.ScheduleDefinition, repository: "RepositoryDefinition", tick: datetime) -> dg.RunRequest:
    with dg.build_schedule_context(scheduled_execution_time=tick, repository_def=repository) as context:
        try:
            requests = schedule.evaluate_tick(context).run_requests or ()
        except dg.DagsterError as error:
            raise NoRuleError(f"its function fails without a running instance: {error}") from error
    if len(requests) != 1:
        raise NoRuleError(f"it asks for {len(requests)} runs at {tick:%Y-%m-%d %H:%M}, not for one")
    return requests[0]


def _days(request: dg.RunRequest) -> tuple[date, date] | None:
    first = request.tags.get(RANGE_START) or request.partition_key
    last = request.tags.get(RANGE_END) or request.partition_key
    if first is None or last is None:
        return None
    try:
        return date.fromisoformat(first), date.fromisoformat(last)
    except ValueError as error:
        raise NoRuleError(f"its partition {first!r} is no day") from error


def _days_back(ranges: Sequence[tuple[datetime, tuple[date, date] | None]], zone: str) -> DaysBack | None:
    found = [(tick, days) for tick, days in ranges if days is not None]
    if not found:
        return None
    if len(found) != len(ranges):
        raise NoRuleError("only some of its ticks ask for a partition")
    first = _offset([(tick, days[0]) for tick, days in found], zone)
    last = _offset([(tick, days[1]) for tick, days in found], zone)
    return DaysBack(first, last, zone)


def _offset(asked: Sequence[tuple[datetime, date]], zone: str) -> timedelta:
    walls = [(tick.astimezone(ZoneInfo(zone)).replace(tzinfo=None), day) for tick, day in asked]
    for offset in OFFSETS:
        if all((wall - offset).date() == day for wall, day in walls):
            return offset
    raise NoRuleError("its partition is not a constant time before the tick")


def _by_time_of_day(
    configs: Sequence[tuple[datetime, Mapping[str, Any]]],
) -> tuple[Mapping[str, Any], dict[str, Mapping[str, Any]]]:
    at: dict[str, Mapping[str, Any]] = {}
    for tick, config in configs:
        if at.setdefault(f"{tick:%H:%M}", config) != config:
            raise NoRuleError("its run configuration differs from day to day")
    # what most times ask for; of as many, the earliest
    default = max(at.values(), key=lambda config: sum(each == config for each in at.values()))
    return default, {time: at[time] for time in sorted(at) if at[time] != default}


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Run configuration without sections that are empty."""
    return {section: value for section, value in config.items() if value}
