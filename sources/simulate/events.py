"""The records of one simulated family, block after block."""

from collections.abc import Iterator
from itertools import count

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts import ColumnType
from sources.outgoing import Outgoing
from sources.simulate.city import City
from sources.simulate.faults import Faults, delayed, draw, spoil
from sources.simulate.fleet import Fleet, Ints, family_number
from sources.simulate.models import LoadCurve, Reports, measure_values
from sources.simulate.schedule import Schedule
from sources.wire import encode, event_schema

_FAULT_STREAM, _MEASURE_STREAM = 1, 2


class FamilyEvents:
    """Generates the events of a fleet; every block depends on the seed and its number alone."""

    def __init__(self, fleet: Fleet, schedule: Schedule, faults: Faults) -> None:
        self._fleet = fleet
        self._schedule = schedule
        self._faults = faults
        self._city = City.of_seed(fleet.seed)
        self._load_curve = LoadCurve(self._city, len(fleet.family.zones), schedule.start_us / 1e6)
        self._keys = [sensor.encode() for sensor in fleet.ids]
        self._ids = pa.array(fleet.ids)
        self._zones = pa.array(fleet.family.zones)

    def records(self) -> Iterator[Outgoing]:
        """All records in the order they are due, with the faults in them."""
        blocks = self._schedule.blocks()
        for number in count() if blocks is None else range(blocks):
            yield self._block(number)

    def batch(self, number: int) -> pa.RecordBatch:
        """The events of block ``number`` without any fault."""
        sensors, times = self._reports(number)
        return self._events(number, sensors, times, times)

    def _block(self, number: int) -> Outgoing:
        sensors, times = self._reports(number)
        rng = self._rng(number, _FAULT_STREAM)
        drawn = draw(self._faults, len(sensors), rng)
        event_times = delayed(times, drawn, self._faults)
        records = self._outgoing(self._events(number, sensors, times, event_times), sensors, event_times, times)
        return spoil(records, drawn, rng) if self._faults.any else records

    def _reports(self, number: int) -> tuple[Ints, Ints]:
        sensors, times = self._schedule.block(number)
        present = ~self._fleet.silent(sensors, times / 1e6)
        return sensors[present], times[present]

    def _outgoing(self, events: pa.RecordBatch, sensors: Ints, event_times: Ints, due: Ints) -> Outgoing:
        keys = self._keys
        return Outgoing(
            payloads=encode(events),
            keys=[keys[sensor] for sensor in sensors.tolist()],
            kinds=np.zeros(len(sensors), dtype=np.uint8),
            event_time=event_times,
            due=due,
        )

    def _events(self, number: int, sensors: Ints, times: Ints, event_times: Ints) -> pa.RecordBatch:
        fleet = self._fleet
        values = measure_values(
            Reports(self._city, fleet, sensors, times / 1e6, self._rng(number, _MEASURE_STREAM), self._load_curve)
        )
        sensor_ids = self._ids.take(pa.array(sensors))
        # the time of the report, not the pushed back one: an event keeps its identity however late it is
        event_ids = pc.binary_join_element_wise(
            sensor_ids, str(fleet.seed), pc.cast(pa.array(times), pa.string()), "-"
        )
        columns: dict[str, pa.Array] = {
            "event_id": event_ids,
            "sensor_id": sensor_ids,
            "event_time": pa.array(event_times).cast(pa.timestamp("us", tz="UTC")),
            "zone": self._zones.take(pa.array(fleet.zone[sensors])),
            "latitude": pa.array(fleet.latitude[sensors]),
            "longitude": pa.array(fleet.longitude[sensors]),
        }
        for measure in fleet.family.measures:
            array = pa.array(values[measure.name], from_pandas=True)
            if measure.type is not ColumnType.DOUBLE:
                array = array.cast(pa.int64())
            columns[measure.name] = array
        schema = event_schema(fleet.family)
        return pa.RecordBatch.from_arrays(
            [columns[field.name].cast(field.type) for field in schema], schema=schema
        )

    def _rng(self, number: int, stream: int) -> np.random.Generator:
        return np.random.default_rng([self._fleet.seed, family_number(self._fleet.family), number, stream])
