"""Rows of bronze tables for a range of days, without Kafka and Flink: simulated events in the order of arrival."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import count, islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts import Family, MeasureKind, bronze_events
from resources.iceberg_schema import iceberg_schema
from sources.simulate.events import FamilyEvents
from sources.simulate.faults import Faults
from sources.simulate.fleet import Ints, build_fleet, family_number
from sources.simulate.schedule import BLOCK, Schedule

SENSORS = 500
"""Of each family."""
SEED = 20260101

REPEATED = 0.02
"""Share of the events that come a second time."""
LATE = 0.01
DELAY_S, LATE_DELAY_S = 2.0, 1800.0
"""Means of the time from measurement to arrival."""
RESETTING = 10
"""One counter in so many begins anew each time it has reached :data:`RESET_AT`."""
RESET_AT = 20.0

CHUNK_BLOCKS = 64
"""Blocks of the simulator in one chunk, about half a million events: what is in memory at a time."""

_DAY_US = int(timedelta(days=1).total_seconds()) * 1_000_000
_FAULTS = 9


@dataclass(frozen=True, slots=True)
class Range:
    """``days`` days from ``first`` on (UTC), each with about ``events_per_day`` events of a family."""

    first: date
    days: int
    events_per_day: int

    @property
    def start(self) -> datetime:
        """First instant."""
        return datetime.combine(self.first, time(), UTC)

    @property
    def end(self) -> datetime:
        """First instant after it."""
        return self.start + timedelta(days=self.days)


def bronze_chunks(family: Family, span: Range) -> Iterator[pa.Table]:
    """Rows of ``bronze.<family>_events`` in the order of their time, a chunk at a time.

    Within a chunk rows lie in the order of arrival, some twice, some late. The same arguments give the same rows.
    """
    fleet = build_fleet(family, SENSORS, SEED)
    schedule = Schedule(
        sensors=SENSORS,
        start_us=int(span.start.timestamp()) * 1_000_000,
        spacing_us=_DAY_US / span.events_per_day,
        total=span.events_per_day * span.days,
    )
    events = FamilyEvents(fleet, schedule, Faults())
    numbers = iter(range(-(-span.events_per_day * span.days // BLOCK)))
    next_offsets = np.zeros(family.topic_partitions, dtype=np.int64)
    schema = iceberg_schema(bronze_events(family)).as_arrow()
    for chunk in count():
        batches = [events.batch(number) for number in islice(numbers, CHUNK_BLOCKS)]
        if not batches:
            return
        rows = _with_resets(family, pa.Table.from_batches(batches).combine_chunks())
        rng = np.random.default_rng([SEED, family_number(family), _FAULTS, chunk])
        yield _arrived(family, rows, next_offsets, rng).select(schema.names).cast(schema)


def _with_resets(family: Family, rows: pa.Table) -> pa.Table:
    sensor = _sensor_numbers(rows)
    for measure in family.measures:
        if measure.kind is not MeasureKind.COUNTER:
            continue
        values = rows[measure.name].to_numpy()
        reset = np.where(sensor % RESETTING == 0, values % RESET_AT, values)
        rows = rows.set_column(
            rows.schema.get_field_index(measure.name), measure.name, pa.array(reset, from_pandas=True)
        )
    return rows


def _arrived(family: Family, rows: pa.Table, next_offsets: Ints, rng: np.random.Generator) -> pa.Table:
    """Put ``rows`` in the order of arrival, with their place in Kafka; ``next_offsets`` go on."""
    copies = np.flatnonzero(rng.random(len(rows)) < REPEATED)
    index = np.concatenate([np.arange(len(rows)), copies])
    mean_s = np.where(rng.random(len(index)) < LATE, LATE_DELAY_S, DELAY_S)
    event_time = rows["event_time"].cast(pa.int64()).to_numpy()[index]
    arrival = event_time + (rng.exponential(mean_s) * 1e6).astype(np.int64)
    order = np.argsort(arrival, kind="stable")
    taken = rows.take(pa.array(index[order]))
    partition = (_sensor_numbers(taken) % family.topic_partitions).astype(np.int32)
    offset = np.empty(len(taken), dtype=np.int64)
    for number in range(family.topic_partitions):
        members = np.flatnonzero(partition == number)
        offset[members] = next_offsets[number] + np.arange(len(members))
        next_offsets[number] += len(members)
    kafka_time = pa.array(arrival[order]).cast(pa.timestamp("us", tz="UTC"))
    return (
        taken.append_column("kafka_partition", pa.array(partition))
        .append_column("kafka_offset", pa.array(offset))
        .append_column("kafka_time", kafka_time)
    )


def _sensor_numbers(rows: pa.Table) -> Ints:
    """The simulator's sensors are numbered at the end of their identifiers."""
    digits = pc.utf8_slice_codeunits(rows["sensor_id"], -5)
    numbers: Ints = digits.cast(pa.int64()).to_numpy()
    return numbers
