"""The sensor that reports the progress of topics and hot views, with the answers of broker and Redis given."""

import dagster as dg
import pytest
import redis

import resources.hot_view
import resources.kafka
from contracts import families
from lakehouse_assets.streaming.topics import topic_offsets

FAMILIES = families()
TOPICS = [f"topic/{topic}" for member in FAMILIES for topic in (member.topic, member.hot_topic)]
FIRST, SECOND = TOPICS[:2]
VIEW = f"hot_view/{FAMILIES[0].name}"


class Services:
    """What the offsets are, and the ticks that see them."""

    def __init__(self) -> None:
        self.ends = {topic: {0: 0, 1: 0} for topic in TOPICS}
        self.loaded: dict[str, dict[int, int]] = {}
        self.redis_is_up = True
        self.instance = dg.DagsterInstance.ephemeral()

    def end_offsets(self, _settings: object, topic: str) -> dict[int, int]:
        return self.ends[f"topic/{topic}"]

    def loaded_offsets(self, _settings: object, topic: str) -> dict[int, int]:
        if not self.redis_is_up:
            raise redis.ConnectionError("no answer")
        return self.loaded.get(topic, {})

    def tick(self) -> dict[str, object]:
        context = dg.build_sensor_context(instance=self.instance, resources={"settings": None})
        reported: dict[str, object] = {}
        for event in topic_offsets.evaluate_tick(context).asset_events:
            assert isinstance(event, dg.AssetMaterialization)
            self.instance.report_runless_asset_event(event)
            reported[event.asset_key.to_user_string()] = event.metadata["records"].value
        return reported


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Services:
    services = Services()
    monkeypatch.setattr(resources.kafka, "end_offsets", services.end_offsets)
    monkeypatch.setattr(resources.hot_view, "loaded_offsets", services.loaded_offsets)
    return services


def test_a_topic_is_reported_when_records_came_and_only_then(services: Services) -> None:
    assert services.tick() == {}
    services.ends[FIRST] = {0: 3, 1: 4}
    assert services.tick() == {FIRST: 7}
    assert services.tick() == {}
    services.ends[FIRST] = {0: 3, 1: 5}
    services.ends[SECOND] = {0: 1, 1: 0}
    assert services.tick() == {FIRST: 8, SECOND: 1}


def test_a_topic_that_was_created_again_is_reported(services: Services) -> None:
    services.ends[FIRST] = {0: 30, 1: 40}
    services.tick()
    services.ends[FIRST] = {0: 2, 1: 0}
    assert services.tick() == {FIRST: 2}


def test_a_report_by_hand_does_not_confuse_it(services: Services) -> None:
    services.instance.report_runless_asset_event(dg.AssetMaterialization(FIRST.split("/")))
    services.ends[FIRST] = {0: 1, 1: 1}
    assert services.tick() == {FIRST: 2}


def test_a_hot_view_is_reported_as_far_as_it_was_loaded(services: Services) -> None:
    services.loaded[FAMILIES[0].hot_topic] = {0: 5, 1: 6}
    assert services.tick() == {VIEW: 11}
    assert services.tick() == {}


def test_while_redis_is_away_topics_are_reported_still(services: Services) -> None:
    services.loaded[FAMILIES[0].hot_topic] = {0: 5}
    services.ends[FIRST] = {0: 1}
    services.redis_is_up = False
    assert services.tick() == {FIRST: 1}
    services.redis_is_up = True
    assert services.tick() == {VIEW: 5}
