"""Whether a table has what its job has told Kafka that it has read."""

from collections.abc import Mapping

from audit.broker import Broker
from audit.report import Behind

LOOK_AHEAD = 10_000
"""Offsets of a lag that are asked for at a time: one published record is enough to know that it is one."""


def behind(
    broker: Broker,
    topic: str,
    committed: Mapping[int, int],
    proven: Mapping[int, int],
    kept_from: Mapping[int, int],
) -> list[Behind]:
    """Partitions where published records between the proven and the committed offset are in no table.

    A committed offset that lies behind control records alone is no lag.
    """
    return [
        Behind(partition=partition, position=proven.get(partition, 0), committed=end)
        for partition, end in sorted(committed.items())
        if _is_lag(broker, topic, partition, range(proven.get(partition, 0), end), kept_from.get(partition, 0))
    ]


def _is_lag(broker: Broker, topic: str, partition: int, lag: range, kept_from: int) -> bool:
    there = range(max(lag.start, kept_from), lag.stop)
    return any(
        broker.published(topic, partition, there[begin : begin + LOOK_AHEAD])
        for begin in range(0, len(there), LOOK_AHEAD)
    )
