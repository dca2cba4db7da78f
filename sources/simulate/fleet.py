"""The sensors of a family: where they stand, how they differ, when they drift and when they are away."""

import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts import Family

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CITY_LATITUDE, CITY_LONGITUDE = 52.0, 5.0
RING_DEG = 0.04
"""Distance of the outer zones' centres from the first zone's."""
SCATTER_DEG = 0.008
"""How far a sensor stands from its zone's centre, as a standard deviation."""

DRIFTING_SHARE = 0.05
DRIFT_PER_DAY = 0.001
"""Relative error that a drifting sensor gains per day until it is recalibrated."""
RECALIBRATED_AFTER_DAYS = 30

OUTAGE_S = 7200
OUTAGE_PROBABILITY = 0.01
"""Chance that a sensor is silent in any one slot of ``OUTAGE_S``."""

DAY_S = 86_400


def zone_centres(count: int) -> tuple[Floats, Floats]:
    """Latitude and longitude of the centres of ``count`` zones: one in the middle, the others around it."""
    angle = 2 * np.pi * np.arange(count) / max(count - 1, 1)
    radius = np.where(np.arange(count) == 0, 0.0, RING_DEG)
    latitude = CITY_LATITUDE + radius * np.cos(angle)
    # a degree of longitude is shorter than one of latitude
    longitude = CITY_LONGITUDE + radius * np.sin(angle) / np.cos(np.radians(CITY_LATITUDE))
    return latitude, longitude


@dataclass(frozen=True, slots=True)
class Fleet:
    """Properties of the sensors, one entry each.

    ``scale`` is how much busier or larger a sensor's site is than the average, ``offset`` a lasting
    difference around zero (standard deviation 1).
    """

    family: Family
    seed: int
    ids: list[str]
    zone: Ints
    latitude: Floats
    longitude: Floats
    scale: Floats
    offset: Floats
    drifts: npt.NDArray[np.bool_]
    calibration_day: Floats

    def drift(self, sensors: Ints, seconds: Floats) -> Floats:
        """Relative error of ``sensors`` at ``seconds`` since the epoch; zero for those that keep still."""
        days = (seconds / DAY_S + self.calibration_day[sensors]) % RECALIBRATED_AFTER_DAYS
        return np.where(self.drifts[sensors], DRIFT_PER_DAY * days, 0.0)

    def silent(self, sensors: Ints, seconds: Floats) -> npt.NDArray[np.bool_]:
        """Whether ``sensors`` are away at ``seconds`` since the epoch."""
        slots = (seconds // OUTAGE_S).astype(np.int64)
        return _hashed(self.seed + family_number(self.family), sensors, slots) < OUTAGE_PROBABILITY


def build_fleet(family: Family, sensors: int, seed: int) -> Fleet:
    """Place ``sensors`` sensors of ``family`` in its zones."""
    rng = np.random.default_rng([seed, family_number(family)])
    zone = np.arange(sensors) % len(family.zones)
    latitude, longitude = zone_centres(len(family.zones))
    return Fleet(
        family=family,
        seed=seed,
        ids=[f"{family.name}-{number:05d}" for number in range(sensors)],
        zone=zone,
        latitude=np.round(latitude[zone] + rng.normal(0, SCATTER_DEG, sensors), 6),
        longitude=np.round(longitude[zone] + rng.normal(0, SCATTER_DEG, sensors), 6),
        scale=rng.lognormal(0, 0.4, sensors),
        offset=rng.normal(0, 1, sensors),
        drifts=rng.random(sensors) < DRIFTING_SHARE,
        calibration_day=rng.uniform(0, RECALIBRATED_AFTER_DAYS, sensors),
    )


def family_number(family: Family) -> int:
    """A number for the family's random streams that no other family's name is likely to give."""
    return zlib.crc32(family.name.encode())


def _hashed(seed: int, first: Ints, second: Ints) -> Floats:
    """Uniform numbers in [0, 1) from the integers: the finaliser of SplitMix64 (Steele et al., 2014)."""
    golden = 0x9E3779B97F4A7C15
    start = (seed * golden) % 2**64
    state = np.uint64(start) + first.astype(np.uint64) * np.uint64(golden)
    state = _mix(state) + second.astype(np.uint64) * np.uint64(golden)
    return (_mix(state) >> np.uint64(11)) / float(2**53)


def _mix(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
