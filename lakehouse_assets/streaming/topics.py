"""Reports the progress of topics and hot views as materializations, so that their freshness is known."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import dagster as dg

from contracts import Dataset, DatasetKind, all_datasets, dataset
from lakehouse_assets.describe import dataset_key

if TYPE_CHECKING:
    from settings import Settings

END_OFFSETS = "end_offsets"
"""Metadata that holds the offset after the last record of each partition, published or loaded."""


@dg.sensor(
    name="topic_offsets",
    description="Reports a materialization of each topic that records were published to, and of each hot view "
    "that records were loaded into",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    required_resource_keys={"settings"},
)
def topic_offsets(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Compare the offsets that each has reached with what was reported last; the reports are the only memory.

    While Redis does not answer, hot views are left out: none makes progress.
    """
    settings: Settings = context.resources.settings
    events = []
    for declared in all_datasets():
        reached = _reached(context, settings, declared)
        offsets = {str(partition): end for partition, end in sorted(reached.items())}
        if any(offsets.values()) and offsets != _last_reported(context.instance, dataset_key(declared)):
            events.append(
                dg.AssetMaterialization(
                    dataset_key(declared),
                    metadata={END_OFFSETS: dg.MetadataValue.json(offsets), "records": sum(offsets.values())},
                )
            )
    return dg.SensorResult(asset_events=events, skip_reason=None if events else "no topic has new records")


def _reached(context: dg.SensorEvaluationContext, settings: "Settings", declared: Dataset) -> Mapping[int, int]:
    """Offset after the last record of each partition; none of what has no offsets."""
    match declared.kind:
        case DatasetKind.TOPIC:
            from resources.kafka import end_offsets  # a code location loads without it

            return end_offsets(settings, declared.name)
        case DatasetKind.HOT_VIEW:
            return _loaded(context, settings, declared)
        case DatasetKind.API:
            return {}


def _loaded(context: dg.SensorEvaluationContext, settings: "Settings", view: Dataset) -> Mapping[int, int]:
    import redis  # a code location loads without them

    from resources.hot_view import loaded_offsets

    [topic] = map(dataset, view.derived_from)
    try:
        return loaded_offsets(settings, topic.name)
    except redis.RedisError as error:
        context.log.warning(f"the hot view of {view.name} cannot be read: {error}")
        return {}


def _last_reported(instance: dg.DagsterInstance, key: dg.AssetKey) -> object:
    event = instance.get_latest_materialization_event(key)
    if event is None or event.asset_materialization is None:
        return None
    offsets = event.asset_materialization.metadata.get(END_OFFSETS)
    return None if offsets is None else offsets.value
