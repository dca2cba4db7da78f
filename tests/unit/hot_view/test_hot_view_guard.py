"""The guarded write, on a real server: any order and repetition ends with the newest."""

import random
from datetime import UTC, datetime, timedelta

import orjson
import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from contracts import family
from hot_view.batch import newest_of_each_key
from hot_view.records import RecordReader, Update
from hot_view.view import View, ViewLostError
from resources.hot_view import (
    CHANGES_KEPT,
    PROGRESS_KEY,
    Subject,
    changes_key,
    document,
    loaded_offsets,
    members_key,
    minute_key,
    reading_key,
    zones_key,
)
from settings import Settings

TRAFFIC = family("traffic")
READER = RecordReader(TRAFFIC)
TOPIC = TRAFFIC.hot_topic

NOW = MINUTE = datetime.min
"""When the running test began, and the minute of it: a reading of when the file was loaded may be stale by now."""

# a ResourceWarning comes when the collector meets an object, whichever test of the process left it
pytestmark = pytest.mark.filterwarnings("error", "ignore::ResourceWarning")
on_a_server = hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def _begin(monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    monkeypatch.setitem(globals(), "NOW", now)
    monkeypatch.setitem(globals(), "MINUTE", now.replace(second=0))


def instant(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def reading(
    sensor: str, seconds: float, offset: int, *, partition: int = 0, zone: str | None = "centre"
) -> Update:
    fields = {
        "sensor_id": sensor,
        "event_time": instant(NOW + timedelta(seconds=seconds)),
        "zone": zone,
        "kafka_partition": partition,
        "kafka_offset": offset,
        "kafka_time": instant(NOW),
    }
    return READER.read(f"sensor:{sensor}".encode(), orjson.dumps(fields))


def minute(zone: str, count: int, total: float) -> Update:
    fields = {
        "zone": zone,
        "minute": instant(MINUTE),
        "event_count": count,
        "newest_event": instant(MINUTE),
        "avg_speed_kmh_sum": total,
    }
    return READER.read(f"zone:{zone}:{MINUTE:%Y-%m-%dT%H:%M}".encode(), orjson.dumps(fields))


@pytest.fixture
def view(client: redis.Redis) -> View:
    view = View(client)
    view.open()
    return view


def state(client: redis.Redis) -> dict[bytes, bytes]:
    keys = sorted(client.scan_iter("hot:traffic:[sz]*:*"))
    return {key: client.get(key) for key in keys}


readings = st.builds(
    reading,
    st.sampled_from(["a", "b", "c"]),
    st.integers(-30, 30),
    st.integers(0, 20),
    partition=st.integers(0, 2),
    zone=st.sampled_from(["centre", "north", None]),
)


@on_a_server
@given(updates=st.lists(readings, min_size=1, max_size=30), seed=st.randoms(use_true_random=False))
def test_any_order_and_repetition_of_readings_ends_with_the_newest(
    client: redis.Redis, updates: list[Update], seed: random.Random
) -> None:
    # an offset of a partition is one event: of those that hypothesis made with the same place, keep one
    by_place = {(update.key, update.order): update for update in updates}
    updates = list(by_place.values())
    sent = updates * 2
    seed.shuffle(sent)

    client.flushall()
    view = View(client)
    view.open()
    while sent:
        batch = [sent.pop() for _ in range(min(len(sent), seed.randint(1, 4)))]
        view.apply(newest_of_each_key(batch), {})

    newest = {
        key: max((u for u in updates if u.key == key), key=lambda u: u.order) for key in {u.key for u in updates}
    }
    assert state(client) == {key: update.entry() for key, update in sorted(newest.items())}
    sensors = {(update.zone + b"\0" + update.key.rpartition(b":")[2]) for update in newest.values()}
    assert sensors <= set(client.zrange(members_key("traffic"), 0, -1))


@on_a_server
@given(counts=st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_any_order_of_totals_ends_with_the_greatest_count(client: redis.Redis, counts: list[int]) -> None:
    client.flushall()
    view = View(client)
    view.open()
    for count in counts:
        view.apply([minute("centre", count, count * 1.5)], {})
    kept = document(client.get(minute_key("traffic", "centre", MINUTE)))
    assert orjson.loads(kept)["event_count"] == max(counts)
    assert client.zrange(zones_key("traffic"), 0, -1) == [b"centre"]


def test_of_equal_counts_the_later_holds(client: redis.Redis, view: View) -> None:
    assert view.apply([minute("centre", 5, 1.0)], {}) == 1
    assert view.apply([minute("centre", 5, 2.0)], {}) == 1
    assert view.apply([minute("centre", 4, 3.0)], {}) == 0
    kept = document(client.get(minute_key("traffic", "centre", MINUTE)))
    assert orjson.loads(kept)["avg_speed_kmh_sum"] == 2.0


def test_a_reading_expires_by_its_event_time(client: redis.Redis, view: View) -> None:
    update = reading("a", -60, 1)
    view.apply([update], {})
    expected = NOW - timedelta(seconds=60) + TRAFFIC.stale_after
    assert client.pexpiretime(reading_key("traffic", "a")) == int(expected.timestamp() * 1000)


def test_a_stale_reading_is_not_written(client: redis.Redis, view: View) -> None:
    assert view.apply([reading("a", -TRAFFIC.stale_after.total_seconds() - 1, 1)], {(TOPIC, 0): 9}) == 0
    assert state(client) == {}
    assert View(client).open() == {(TOPIC, 0): 9}


def test_a_tombstone_deletes(client: redis.Redis, view: View) -> None:
    view.apply([reading("a", 0, 1)], {})
    view.apply([READER.read(b"sensor:a", None)], {})
    assert state(client) == {}


def test_progress_is_kept_with_what_was_written(client: redis.Redis, view: View) -> None:
    view.apply([reading("a", 0, 1)], {(TOPIC, 0): 2, (TOPIC, 5): 11})
    view.apply([reading("a", 0, 1)], {(TOPIC, 0): 3})
    assert View(client).open() == {(TOPIC, 0): 3, (TOPIC, 5): 11}


def test_an_emptied_server_takes_nothing_until_the_view_is_opened_again(client: redis.Redis, view: View) -> None:
    client.flushall()
    with pytest.raises(ViewLostError):
        view.apply([reading("a", 0, 1)], {(TOPIC, 0): 2})
    with pytest.raises(ViewLostError):
        view.check()
    assert client.keys("*") == []
    assert view.open() == {}
    assert view.apply([reading("a", 0, 1)], {(TOPIC, 0): 2}) == 1


def test_another_loaders_view_is_not_lost(client: redis.Redis, view: View) -> None:
    other = View(client)
    other.open()
    other.check()
    view.check()
    assert len(client.hgetall(PROGRESS_KEY)) == 1


def test_changes_are_appended_once_in_order_and_only_if_they_are_changes(client: redis.Redis, view: View) -> None:
    updates = [reading("a", 0, 1), minute("north", 3, 1.0), reading("b", 0, 2)]
    view.apply(updates, {})
    view.apply(updates, {})  # the same again
    view.apply([reading("a", -1, 3)], {})  # older
    view.apply([last := reading("c", 0, 4)], {})
    appended = [fields for _, fields in client.xrange(changes_key("traffic"))]
    subjects = [Subject.SENSOR, Subject.ZONE, Subject.SENSOR, Subject.SENSOR]
    assert appended == [
        {subject.encode(): update.entry()} for subject, update in zip(subjects, [*updates, last], strict=True)
    ]
    assert client.exists(changes_key("weather")) == 0


def test_of_changes_the_newest_are_kept(client: redis.Redis, view: View) -> None:
    for first in range(0, 2 * CHANGES_KEPT, 1000):
        view.apply([reading(f"s{number}", 0, number) for number in range(first, first + 1000)], {})
    kept = client.xlen(changes_key("traffic"))
    # Redis takes away whole nodes of the stream, each of at most a hundred
    assert CHANGES_KEPT <= kept < CHANGES_KEPT + 200
    (_, fields), *_ = client.xrevrange(changes_key("traffic"), count=1)
    assert fields[Subject.SENSOR.encode()] == reading(f"s{2 * CHANGES_KEPT - 1}", 0, 2 * CHANGES_KEPT - 1).entry()


def test_the_purge_leaves_exactly_the_members_that_have_a_reading_in_their_zone(
    client: redis.Redis, view: View
) -> None:
    view.apply([reading(f"s{number}", 0, number) for number in range(25)], {})
    view.apply([reading("s3", 1, 30, zone="north"), reading("s4", 1, 31, zone=None)], {})
    view.apply([reading("s5", 1, 32, zone="centreville")], {})
    client.delete(reading_key("traffic", "s7"), reading_key("traffic", "s8"))
    client.zadd(zones_key("traffic"), {"gone": 1, "here": 2**50})
    after, looks = b"", 0
    while after or not looks:
        after = view.purge("traffic", after, 4)
        looks += 1
    expected = {f"centre\0s{number}" for number in range(25) if number not in {3, 4, 5, 7, 8}}
    expected |= {"north\0s3", "\0s4", "centreville\0s5"}
    assert {member.decode() for member in client.zrange(members_key("traffic"), 0, -1)} == expected
    assert client.zrange(zones_key("traffic"), 0, -1) == [b"here"]
    assert looks == 28 // 4 + 1


def test_how_far_a_topic_was_loaded_stands_beside_what_was_loaded(view: View, hot_settings: Settings) -> None:
    assert loaded_offsets(hot_settings, TOPIC) == {}
    view.apply((), {(TOPIC, 0): 5, (TOPIC, 11): 7, (f"{TOPIC}.other", 0): 9})
    assert loaded_offsets(hot_settings, TOPIC) == {0: 5, 11: 7}
