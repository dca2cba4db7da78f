"""Reports the progress of the topics as materializations, so that their freshness is known."""

from typing import TYPE_CHECKING

import dagster as dg

from contracts import families
from lakehouse_assets.describe import topic_key

if TYPE_CHECKING:
    from settings import Settings

END_OFFSETS = "end_offsets"
"""Metadata that holds the offset after the last record of each partition."""


@dg.sensor(
    name="topic_offsets",
    description="Reports a materialization of each topic that records were published to",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    required_resource_keys={"settings"},
)
def topic_offsets(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Compare the end of each topic with what was reported last; the reports are the only memory."""
    from resources.kafka import end_offsets  # a code location loads without it

    settings: Settings = context.resources.settings
    events = []
    for member in families():
        offsets = {str(part): end for part, end in sorted(end_offsets(settings, member.topic).items())}
        reported = _last_reported(context.instance, topic_key(member.topic))
        if offsets != reported and any(offsets.values()):
            events.append(
                dg.AssetMaterialization(
                    topic_key(member.topic),
                    metadata={END_OFFSETS: dg.MetadataValue.json(offsets), "records": sum(offsets.values())},
                )
            )
    return dg.SensorResult(asset_events=events, skip_reason=None if events else "no topic has new records")


def _last_reported(instance: dg.DagsterInstance, key: dg.AssetKey) -> object:
    event = instance.get_latest_materialization_event(key)
    if event is None or event.asset_materialization is None:
        return None
    offsets = event.asset_materialization.metadata.get(END_OFFSETS)
    return None if offsets is None else offsets.value
