"""Reports the snapshots of the tables that services write as materializations."""

import json
from typing import TYPE_CHECKING

import dagster as dg

from contracts import Table
from lakehouse_assets.describe import table_key
from lakehouse_assets.streaming.assets import streaming_tables
from lakehouse_assets.streaming.positions import Position, position_in, position_metadata, sequence_number_of

if TYPE_CHECKING:
    from resources.snapshots import StreamCommit

MAX_EVENTS_PER_TABLE = 100
"""Per tick, so that a tick after a long pause stays within the daemon's time limit of a minute."""


@dg.sensor(
    name="stream_snapshots",
    description="Reports one materialization for each snapshot that a Flink job or the collector committed",
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    required_resource_keys={"catalog"},
)
def stream_snapshots(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Report what was committed since the tick before, oldest first.

    The daemon stores the events one by one and the cursor after them. If it is killed between, the newest
    stored event tells how far it came, and the tick that follows goes on from there.
    """
    from resources.snapshots import stream_commits  # a code location loads without it

    cursor: dict[str, Position] = json.loads(context.cursor) if context.cursor else {}
    events: list[dg.AssetMaterialization] = []
    for declared in streaming_tables():
        table = context.resources.catalog.load_table(declared.identifier)
        uuid = str(table.metadata.table_uuid)
        known = (cursor.get(declared.identifier), _last_reported(context.instance, declared))
        after = max(sequence_number_of(uuid, position) for position in known)
        commits = stream_commits(table, declared, after=after, limit=MAX_EVENTS_PER_TABLE)
        events.extend(_materialization(declared, uuid, commit) for commit in commits)
        reached = commits[-1].sequence_number if commits else after
        cursor[declared.identifier] = Position(table_uuid=uuid, sequence_number=reached)
    return dg.SensorResult(
        asset_events=events,
        cursor=json.dumps(cursor, sort_keys=True),
        skip_reason=None if events else "no snapshot since the tick before",
    )


def _last_reported(instance: dg.DagsterInstance, declared: Table) -> Position | None:
    event = instance.get_latest_materialization_event(table_key(declared))
    # what was reported by hand names none
    return position_in(event.asset_materialization.metadata) if event and event.asset_materialization else None


def _materialization(declared: Table, table_uuid: str, commit: "StreamCommit") -> dg.AssetMaterialization:
    metadata: dict[str, dg.MetadataValue] = {
        # as text: the browser rounds integers above 2^53
        "snapshot_id": dg.MetadataValue.text(str(commit.snapshot_id)),
        **position_metadata(table_uuid, commit.sequence_number),
        "committed_at": dg.MetadataValue.timestamp(commit.committed_at),
        "added_records": dg.MetadataValue.int(commit.added_records),
        "dagster/row_count": dg.MetadataValue.int(commit.total_records),
    }
    if commit.job_id is not None:
        metadata["flink_job_id"] = dg.MetadataValue.text(commit.job_id)
    if commit.checkpoint_id is not None:
        metadata["checkpoint_id"] = dg.MetadataValue.int(commit.checkpoint_id)
    watermark = commit.watermark or commit.newest_event
    if watermark is not None:
        metadata["watermark"] = dg.MetadataValue.timestamp(watermark)
    if commit.lag is not None:
        metadata["lag_s"] = dg.MetadataValue.float(commit.lag.total_seconds())
    return dg.AssetMaterialization(
        table_key(declared),
        description=f"{commit.added_records} rows"
        + (f" of checkpoint {commit.checkpoint_id}" if commit.checkpoint_id is not None else ""),
        metadata=metadata,
    )
