"""The sensor that reports the progress of topics, with the broker's answer given."""

import dagster as dg
import pytest

import resources.kafka
from contracts import families
from lakehouse_assets.describe import topic_key
from lakehouse_assets.streaming.topics import topic_offsets

TOPICS = [member.topic for member in families()]


class Broker:
    """What the end offsets are, and the ticks that see them."""

    def __init__(self) -> None:
        self.ends = {topic: {0: 0, 1: 0} for topic in TOPICS}
        self.instance = dg.DagsterInstance.ephemeral()

    def end_offsets(self, _settings: object, topic: str) -> dict[int, int]:
        return self.ends[topic]

    def tick(self) -> dict[str, object]:
        context = dg.build_sensor_context(instance=self.instance, resources={"settings": None})
        reported: dict[str, object] = {}
        for event in topic_offsets.evaluate_tick(context).asset_events:
            assert isinstance(event, dg.AssetMaterialization)
            self.instance.report_runless_asset_event(event)
            reported[event.asset_key.path[-1]] = event.metadata["records"].value
        return reported


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    broker = Broker()
    monkeypatch.setattr(resources.kafka, "end_offsets", broker.end_offsets)
    return broker


def test_a_topic_is_reported_when_records_came_and_only_then(broker: Broker) -> None:
    assert broker.tick() == {}
    broker.ends[TOPICS[0]] = {0: 3, 1: 4}
    assert broker.tick() == {TOPICS[0]: 7}
    assert broker.tick() == {}
    broker.ends[TOPICS[0]] = {0: 3, 1: 5}
    broker.ends[TOPICS[1]] = {0: 1, 1: 0}
    assert broker.tick() == {TOPICS[0]: 8, TOPICS[1]: 1}


def test_a_topic_that_was_created_again_is_reported(broker: Broker) -> None:
    broker.ends[TOPICS[0]] = {0: 30, 1: 40}
    broker.tick()
    broker.ends[TOPICS[0]] = {0: 2, 1: 0}
    assert broker.tick() == {TOPICS[0]: 2}


def test_a_report_by_hand_does_not_confuse_it(broker: Broker) -> None:
    broker.instance.report_runless_asset_event(dg.AssetMaterialization(topic_key(TOPICS[0])))
    broker.ends[TOPICS[0]] = {0: 1, 1: 1}
    assert broker.tick() == {TOPICS[0]: 2}
