"""The audit on a running stack: its counts are those of the ledger, and what it reports is what Kafka holds."""

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from audit.broker import KafkaBroker
from audit.lag import behind
from audit.run import audit
from contracts import family
from resources.kafka import end_offsets
from settings import Settings
from sources.simulate import SimulationOptions, run_simulation

FAMILY = family("energy")
"""No other test writes to its bronze table but through Kafka."""
WAIT_S = 180.0
DRAIN_S = 240.0


def drained(settings: Settings) -> None:
    """Wait until the job has told Kafka that it has read all records (not the markers behind them)."""
    broker, ends = KafkaBroker(settings), end_offsets(settings, FAMILY.topic)
    deadline = time.monotonic() + DRAIN_S
    while lag := behind(broker, FAMILY.topic, ends, broker.committed_offsets(FAMILY.topic, FAMILY.job_name), {}):
        assert time.monotonic() < deadline, f"the job has not read {lag}"
        time.sleep(1)


def command_line(root: Path, *arguments: str) -> dict[str, Any]:
    """The JSON object that `./lakehouse audit` prints last."""
    done = subprocess.run(
        [sys.executable, "-m", "stack", "audit", FAMILY.name, "--json", f"--wait={WAIT_S}", *arguments],
        capture_output=True, text=True, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.timeout(900)
def test_the_counts_are_those_of_the_ledger(settings: Settings, root: Path, tmp_path: Path) -> None:
    drained(settings)
    [before] = command_line(root, "--full")["tables"]
    start = datetime(2026, 3, 2, 6, tzinfo=UTC)
    [ledger] = run_simulation(
        SimulationOptions(
            families=(FAMILY,), start=start, end=start + timedelta(minutes=20), sensors=50, seed=4,
            malformed=0.05, late=0.02, duplicates=0.03, ledger_folder=tmp_path,
        ),
        settings,
    )  # fmt: skip
    drained(settings)
    added = command_line(root)
    [found] = added["tables"]
    assert added["ok"]
    assert not found["full"]
    # each acknowledged record is one or the other; second copies are rows too
    assert found["rows"] + found["dead_letters"] - before["rows"] - before["dead_letters"] == ledger.acknowledged
    assert found["dead_letters"] - before["dead_letters"] == ledger.by_kind.malformed
    assert found["checked_rows"] <= found["rows"] - before["rows"]

    everything = command_line(root, "--full")
    assert everything["ok"]
    [full] = everything["tables"]
    assert full["checked_rows"] == full["rows"] == found["rows"]
    ends = end_offsets(settings, FAMILY.topic)
    assert full["rows"] + full["dead_letters"] + full["control_records"] == sum(ends.values())
    assert {int(partition): end for partition, end in full["next_offsets"].items()} == {
        partition: end for partition, end in ends.items() if end
    }


@pytest.mark.timeout(900)
def test_transactions_leave_control_records_and_no_loss(settings: Settings) -> None:
    drained(settings)
    [before] = audit(settings, [FAMILY], full=False, wait_s=WAIT_S).tables
    ends = end_offsets(settings, FAMILY.topic)
    committed = publish_transactions(settings, kept=4, aborted=3, events=10)
    drained(settings)
    [found] = audit(settings, [FAMILY], full=False, wait_s=WAIT_S).tables
    assert found.violations() == []
    assert found.rows + found.dead_letters - before.rows - before.dead_letters == committed
    # what was aborted is no loss; markers at the very end are behind the last row and not counted yet
    markers = found.control_records - before.control_records - 3 * 10
    used = sum(end_offsets(settings, FAMILY.topic).values()) - sum(ends.values())
    assert 0 <= markers <= used - committed - 3 * 10


def publish_transactions(settings: Settings, *, kept: int, aborted: int, events: int) -> int:
    """Publish events in transactions, aborted ones first; returns how many were committed."""
    producer = Producer(
        {"bootstrap.servers": settings.kafka_bootstrap_servers, "transactional.id": "test-audit", "log_level": 0}
    )
    producer.init_transactions(60)
    for number in range(aborted + kept):
        producer.begin_transaction()
        for place in range(events):
            event = {
                "event_id": f"transaction-{number}-{place}",
                "sensor_id": f"meter-{place}",
                "event_time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            }
            producer.produce(FAMILY.topic, json.dumps(event).encode(), key=event["sensor_id"])
        producer.flush()
        if number < aborted:
            producer.abort_transaction(60)
        else:
            producer.commit_transaction(60)
    return kept * events


@pytest.mark.timeout(300)
def test_what_kafka_is_asked_for(settings: Settings) -> None:
    drained(settings)
    broker, ends = KafkaBroker(settings), end_offsets(settings, FAMILY.topic)
    assert broker.first_offsets(FAMILY.topic) == dict.fromkeys(ends, 0)
    partition, end = max(ends.items(), key=lambda item: item[1])
    published = broker.published(FAMILY.topic, partition, range(end))
    assert published == sorted(set(published))
    assert set(published) <= set(range(end))
    middle = range(end // 3, end // 2)
    assert broker.published(FAMILY.topic, partition, middle) == [o for o in published if o in middle]
