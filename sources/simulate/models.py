"""What the sensors of a family read. A family that has no model of its own gets the generic one.

A model returns values by measure; measures of the contract that it leaves out are filled by the generic
model, and ``nan`` is a value that is missing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from contracts import ColumnType, Measure, MeasureKind
from sources.errors import SourceError
from sources.simulate.city import City, hour_of_day, power_load, traffic_load
from sources.simulate.fleet import DAY_S, Fleet, Floats, Ints, zone_centres

MISSING_PROBABILITY = 0.002
DECIMALS = 3
BUSIEST = 5.0
"""Largest multiple of the average that a counter of an unknown family grows by."""

HOURS_AHEAD = 31 * 24
"""How much further than asked for the load is computed at a time."""

VEHICLE_AND_LOOP_M = 7.0
"""Length over which a vehicle covers a detector."""


@dataclass(frozen=True, slots=True)
class Reports:
    """The reports whose values are wanted: which sensor, when (seconds since the epoch)."""

    city: City
    fleet: Fleet
    sensors: Ints
    seconds: Floats
    rng: np.random.Generator
    load_curve: "LoadCurve"

    @property
    def place(self) -> tuple[Floats, Floats]:
        """Latitude and longitude of each report."""
        return self.fleet.latitude[self.sensors], self.fleet.longitude[self.sensors]

    def noise(self, scale: float) -> Floats:
        """Normally distributed noise with standard deviation ``scale``."""
        return scale * self.rng.standard_normal(len(self.sensors))


class LoadCurve:
    """Electric load by zone and hour and its integral, which meters count.

    Meters count since the first day of the decade that the simulation starts in. The load is
    constant over an hour, that of its middle: readings are its exact integral.
    """

    def __init__(self, city: City, zones: int, start: float) -> None:
        year = datetime.fromtimestamp(start, UTC).year
        self._city = city
        self._places = list(zip(*zone_centres(zones), strict=True))
        self._origin = datetime(max(year - year % 10, 1), 1, 1, tzinfo=UTC).timestamp()
        self._load: Floats = np.empty((zones, 0))
        self._before: Floats = np.empty((zones, 0))

    def at(self, zone: Ints, seconds: Floats) -> tuple[Floats, Floats]:
        """Load relative to the average, and its integral in hours since the meters were installed."""
        hour, rest = np.divmod((seconds - self._origin) / 3600, 1)
        index = hour.astype(np.int64)
        if len(index) and index.max() >= self._load.shape[1]:
            self._compute(int(index.max()) + 1 + HOURS_AHEAD)
        load = self._load[zone, index]
        return load, self._before[zone, index] + rest * load

    def _compute(self, hours: int) -> None:
        middles: Floats = self._origin + 3600 * (np.arange(hours, dtype=np.float64) + 0.5)
        self._load = np.stack(
            [
                power_load(middles, self._city.temperature(middles, np.array(latitude), np.array(longitude)))
                for latitude, longitude in self._places
            ]
        )
        self._before = np.cumsum(self._load, axis=1) - self._load


def traffic(reports: Reports) -> dict[str, Floats]:
    """Vehicles from the load of the roads; they slow down in density and rain."""
    fleet, sensors = reports.fleet, reports.sensors
    interval_h = fleet.family.reporting_interval.total_seconds() / 3600
    load = traffic_load(reports.seconds)
    flow = 900 * fleet.scale[sensors] * load
    count = reports.rng.poisson(np.minimum(flow * interval_h, 50_000)).astype(np.float64)
    rain = reports.city.rain(reports.seconds, *reports.place)
    free_flow = 62 + 9 * fleet.offset[sensors]
    speed = free_flow * (1 - 0.5 * np.minimum(load, 1) ** 2) * (1 - 0.01 * np.minimum(rain, 15))
    speed = np.maximum(speed + reports.noise(3), 4)
    occupied_h = count * VEHICLE_AND_LOOP_M / 1000 / speed
    return {
        "vehicle_count": count,
        # nobody passed: there is no mean speed
        "avg_speed_kmh": np.where(count > 0, speed, np.nan),
        "occupancy_ratio": np.minimum(occupied_h / interval_h, 1),
    }


def weather(reports: Reports) -> dict[str, Floats]:
    """A station in the city's weather."""
    front = reports.city.front(reports.seconds, *reports.place)
    offset = reports.fleet.offset[reports.sensors]
    interval_h = reports.fleet.family.reporting_interval.total_seconds() / 3600
    temperature = reports.city.temperature(reports.seconds, *reports.place) + 0.5 * offset + reports.noise(0.1)
    rain = reports.city.rain(reports.seconds, *reports.place)
    daily = np.cos(2 * np.pi * (hour_of_day(reports.seconds) - 3) / 24)
    return {
        "temperature_c": temperature,
        "humidity_pct": np.clip(68 + 12 * daily + 20 * front + 2 * offset + reports.noise(0.8), 8, 100),
        "pressure_hpa": 1014 - 12 * front + reports.noise(0.15),
        "wind_speed_ms": np.maximum(4 + 3.5 * front + 0.4 * offset + reports.noise(0.7), 0),
        "wind_direction_deg": (225 + 70 * front + 4 * offset + reports.noise(8)) % 360,
        "precipitation_mm": rain * interval_h * reports.rng.gamma(4, 0.25, len(front)),
    }


def energy(reports: Reports) -> dict[str, Floats]:
    """A meter whose reading is the integral of the load that its power follows."""
    average_kw = 12 * reports.fleet.scale[reports.sensors]
    load, hours = reports.load_curve.at(reports.fleet.zone[reports.sensors], reports.seconds)
    return {
        "active_power_kw": average_kw * np.maximum(load * (1 + reports.noise(0.04)), 0),
        "energy_kwh": average_kw * hours,
        "voltage_v": 232 - 3 * load + reports.fleet.offset[reports.sensors] + reports.noise(0.4),
        "frequency_hz": 50 + reports.noise(0.015),
        "power_factor": np.clip(
            0.94 + 0.01 * reports.fleet.offset[reports.sensors] + reports.noise(0.008), 0.5, 1
        ),
    }


MODELS: dict[str, Callable[[Reports], dict[str, Floats]]] = {
    "traffic": traffic,
    "weather": weather,
    "energy": energy,
}


def generic(measure: Measure, reports: Reports) -> Floats:
    """A daily wave inside the measure's range; a counter grows steadily."""
    low = measure.minimum if measure.minimum is not None else 0.0
    high = measure.maximum if measure.maximum is not None else low + 100.0
    if measure.minimum is None:
        low = min(low, high - 100.0)
    scale = reports.fleet.scale[reports.sensors]
    if measure.kind is MeasureKind.COUNTER:
        # counts since 1970, and reaches the top of its range after a century at the earliest
        per_day = 1000.0 if measure.maximum is None else (high - low) / (36_525 * BUSIEST)
        return low + per_day * np.minimum(scale, BUSIEST) * np.maximum(reports.seconds, 0) / DAY_S
    daily = np.sin(2 * np.pi * (hour_of_day(reports.seconds) - 9) / 24)
    level = 0.5 + 0.2 * daily + 0.05 * reports.fleet.offset[reports.sensors] + reports.noise(0.02)
    return low + (high - low) * level


def measure_values(reports: Reports) -> dict[str, Floats]:
    """Values of every measure of the family: drifted, rounded, some missing, all within the contract.

    Raises:
        SourceError: a measure is not a number.
    """
    family = reports.fleet.family
    model = MODELS.get(family.name)
    modelled = {} if model is None else model(reports)
    drift = reports.fleet.drift(reports.sensors, reports.seconds)
    values: dict[str, Floats] = {}
    for measure in family.measures:
        value = modelled[measure.name] if measure.name in modelled else generic(measure, reports)
        if measure.type is ColumnType.DOUBLE:
            if measure.kind is MeasureKind.GAUGE:
                value = value * (1 + drift)
            value = np.round(value, DECIMALS)
        elif measure.type in {ColumnType.INT, ColumnType.LONG}:
            value = np.rint(value)
        else:
            raise SourceError(
                f"{family.name}.{measure.name}: a measure of type {measure.type} cannot be simulated"
            )
        value = np.clip(value, measure.minimum, measure.maximum)
        if measure.nullable:
            value = np.where(reports.rng.random(len(value)) < MISSING_PROBABILITY, np.nan, value)
        values[measure.name] = value
    return values
