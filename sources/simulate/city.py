"""What happens in the city at a place and time, whoever measures it: weather and daily rhythms.

Times are seconds since the epoch as float arrays. The city keeps UTC.
"""

from dataclasses import dataclass

import numpy as np

from sources.simulate.fleet import CITY_LATITUDE, CITY_LONGITUDE, DAY_S, Floats

YEAR_S = 365.2425 * DAY_S
EPOCH_WEEKDAY = 3
"""1970-01-01 was a Thursday; Monday is 0."""

FRONT_SPEED_MS = 8.0
METRES_PER_DEGREE = 111_000.0
RAIN_THRESHOLD = 0.8


def hour_of_day(seconds: Floats) -> Floats:
    """Hours since midnight."""
    return (seconds % DAY_S) / 3600


def is_weekend(seconds: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Whether it is Saturday or Sunday."""
    return (seconds // DAY_S + EPOCH_WEEKDAY) % 7 >= 5


def bump(hour: Floats, centre: float, width: float) -> Floats:
    """A bell of height 1 around ``centre``, both in hours, that goes on across midnight."""
    distance = (hour - centre + 12) % 24 - 12
    return np.exp(-0.5 * (distance / width) ** 2)


@dataclass(frozen=True, slots=True)
class City:
    """The weather of one seed."""

    phases: tuple[float, float, float]
    heading: float
    """Direction that fronts move in, radians from east."""

    @classmethod
    def of_seed(cls, seed: int) -> "City":
        """The city whose weather ``seed`` decides."""
        rng = np.random.default_rng([seed, 0])
        first, second, third = rng.uniform(0, 2 * np.pi, 3).tolist()
        return cls((first, second, third), float(rng.uniform(-0.5, 0.5)))

    def front(self, seconds: Floats, latitude: Floats, longitude: Floats) -> Floats:
        """Strength of the weather front, from about -1 (settled) to 1 (its middle is here).

        Waves of several periods travel across the city, so that a front reaches zone after zone.
        """
        east = (longitude - CITY_LONGITUDE) * METRES_PER_DEGREE * np.cos(np.radians(CITY_LATITUDE))
        north = (latitude - CITY_LATITUDE) * METRES_PER_DEGREE
        along = east * np.cos(self.heading) + north * np.sin(self.heading)
        local = seconds - along / FRONT_SPEED_MS
        first, second, third = self.phases
        days = 2 * np.pi * local / DAY_S
        slow, middle, fast = np.sin(days / 3.7 + first), np.sin(days / 1.6 + second), np.sin(days * 2.3 + third)
        strength: Floats = 0.5 * slow + 0.3 * middle + 0.2 * fast
        return strength

    def temperature(self, seconds: Floats, latitude: Floats, longitude: Floats) -> Floats:
        """Air temperature in degrees Celsius: season, time of day and front."""
        season: Floats = -9 * np.cos(2 * np.pi * (seconds / YEAR_S - 0.06))
        daily: Floats = -4 * np.cos(2 * np.pi * (hour_of_day(seconds) - 3) / 24)
        return 10.5 + season + daily - 3 * self.front(seconds, latitude, longitude)

    def rain(self, seconds: Floats, latitude: Floats, longitude: Floats) -> Floats:
        """Rain in millimetres an hour; it falls where a front is strongest."""
        strength = self.front(seconds, latitude, longitude)
        return 40 * np.maximum(strength - RAIN_THRESHOLD * 0.7, 0)


def traffic_load(seconds: Floats) -> Floats:
    """How busy roads are, from 0 to about 1: rush hours on working days, a broad afternoon at weekends."""
    hour = hour_of_day(seconds)
    working = 0.9 * bump(hour, 8, 1.1) + bump(hour, 17.5, 1.5) + 0.4 * bump(hour, 13, 3)
    weekend = 0.55 * bump(hour, 14.5, 3.5)
    return 0.03 + np.where(is_weekend(seconds), weekend, working) * 0.9


def power_load(seconds: Floats, temperature: Floats) -> Floats:
    """Electric load relative to the average: people's day, heating below 15 degrees, cooling above 22."""
    hour = hour_of_day(seconds)
    people = 0.5 + 0.45 * bump(hour, 8, 2) + 0.75 * bump(hour, 19, 2.5) + 0.3 * bump(hour, 13, 3)
    weather = 0.035 * np.maximum(15 - temperature, 0) + 0.05 * np.maximum(temperature - 22, 0)
    return people * np.where(is_weekend(seconds), 1.08, 1.0) + weather
