"""The check that a topic's records get into bronze in time, and the sensor that evaluates it all the time."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from contracts import Family, bronze_events, families
from lakehouse_assets.check_history import evaluations_of
from lakehouse_assets.describe import table_key

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

    from settings import Settings

CHECK_NAME = "moves"
NEVER = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a bronze table follows its topic; ``waiting`` counts records that have waited for too long."""

    passed: bool
    severity: dg.AssetCheckSeverity
    waiting: int
    committed_at: datetime | None
    description: str

    @property
    def metadata(self) -> dict[str, dg.MetadataValue]:
        """Figures, as Dagster shows them."""
        figures: dict[str, dg.MetadataValue] = {"waiting_records": dg.MetadataValue.int(self.waiting)}
        if self.committed_at is not None:
            figures["committed_at"] = dg.MetadataValue.timestamp(self.committed_at)
        return figures


def progress_checks() -> list[dg.AssetChecksDefinition]:
    """One check for each bronze table."""
    return [_moves(member) for member in families()]


def _moves(member: Family) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=table_key(bronze_events(member)),
        name=CHECK_NAME,
        description=f"No record of {member.topic} waits long for a commit of the job that writes the table",
        required_resource_keys={"settings", "catalog"},
        blocking=False,
    )
    def moves(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        found = judge(context.resources.settings, context.resources.catalog, member, utc_now())
        return dg.AssetCheckResult(
            passed=found.passed, severity=found.severity, description=found.description, metadata=found.metadata
        )

    return moves


@dg.sensor(
    name="stuck_stream",
    description="Says when records of a topic wait and its bronze table gets no commit, and when it does again",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    required_resource_keys={"settings", "catalog"},
)
def stuck_stream(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Evaluate the check of each bronze table, and report what differs from its newest evaluation.

    The evaluations are the only memory: a tick that is repeated reports nothing twice.
    """
    now = utc_now()
    events = []
    for member in families():
        key = table_key(bronze_events(member))
        found = judge(context.resources.settings, context.resources.catalog, member, now)
        if (found.passed, found.severity) != _last_reported(context.instance, key):
            events.append(
                dg.AssetCheckEvaluation(
                    asset_key=key,
                    check_name=CHECK_NAME,
                    passed=found.passed,
                    severity=found.severity,
                    description=found.description,
                    metadata=found.metadata,
                    blocking=False,
                )
            )
    return dg.SensorResult(asset_events=events, skip_reason=None if events else "all streams are as they were")


def judge(settings: "Settings", catalog: "Catalog", member: Family, now: datetime) -> Verdict:
    """Whether records that came after the last commit of the family's bronze table have waited for too long.

    How long is too long is in the freshness of the family: first a warning, then an error. A topic that is silent
    leaves nothing waiting. Broken records alone do not fail it: Iceberg's sink commits every tenth checkpoint even
    if it is empty (``flink.max-continuous-empty-commits``).

    Raises:
        KafkaUnavailableError: the broker does not answer, or the topic does not exist.
    """
    from resources.snapshots import last_committed_at  # a code location loads without it

    declared = bronze_events(member)
    committed_at = last_committed_at(catalog.load_table(declared.identifier), declared)
    limits = (
        (member.freshness.fail_after, dg.AssetCheckSeverity.ERROR),
        (member.freshness.warn_after, dg.AssetCheckSeverity.WARN),
    )
    since = committed_at or NEVER
    for limit, severity in limits:
        if waiting := _records_between(settings, member.topic, since, now - limit):
            return Verdict(
                False, severity, waiting, committed_at, _what_to_do(member, waiting, limit, committed_at)
            )
    description = f"no record waits for longer than {member.freshness.warn_after}"
    return Verdict(True, dg.AssetCheckSeverity.ERROR, 0, committed_at, description)


def utc_now() -> datetime:
    """The time of the tick."""
    return datetime.now(UTC)


def _records_between(settings: "Settings", topic: str, start: datetime, end: datetime) -> int:
    """Records that came to ``topic`` in ``[start, end)`` by their Kafka timestamps."""
    from resources.kafka import offsets_at  # a code location loads without it

    if end <= start:
        return 0  # the usual case: there was a commit just now
    first, last = offsets_at(settings, topic, start), offsets_at(settings, topic, end)
    return sum(max(0, offset - first[partition]) for partition, offset in last.items())


def _last_reported(instance: dg.DagsterInstance, key: dg.AssetKey) -> tuple[bool, dg.AssetCheckSeverity] | None:
    newest = next(evaluations_of(instance, dg.AssetCheckKey(key, CHECK_NAME)), None)
    return None if newest is None else (newest.passed, newest.severity)


def _what_to_do(member: Family, waiting: int, limit: timedelta, committed_at: datetime | None) -> str:
    last = "was never committed to" if committed_at is None else f"got its last commit at {committed_at:%F %T} UTC"
    return (
        f"{waiting} records of {member.topic} have waited for more than {limit}, and "
        f"{bronze_events(member).identifier} {last}: `./lakehouse jobs` shows whether its job runs, "
        "`./lakehouse logs flink-taskmanager` and `./lakehouse logs job-keeper` what hinders it"
    )
