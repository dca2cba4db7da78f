"""Weather: stations at street level."""

from contracts.model import ColumnType, Family, Measure
from contracts.zones import CITY_ZONES

FAMILY = Family(
    name="weather",
    description="Street-level weather stations",
    owners=("team:environment",),
    zones=CITY_ZONES,
    measures=(
        Measure(
            "temperature_c", ColumnType.DOUBLE, "Air temperature at two metres",
            unit="degC", nullable=True, minimum=-60, maximum=60,
        ),
        Measure(
            "humidity_pct", ColumnType.DOUBLE, "Relative humidity",
            unit="%", nullable=True, minimum=0, maximum=100,
        ),
        Measure(
            "pressure_hpa", ColumnType.DOUBLE, "Air pressure, reduced to sea level",
            unit="hPa", nullable=True, minimum=850, maximum=1100,
        ),
        Measure(
            "wind_speed_ms", ColumnType.DOUBLE, "Wind speed, mean of the reporting interval",
            unit="m/s", nullable=True, minimum=0, maximum=120,
        ),
        Measure(
            "wind_direction_deg", ColumnType.DOUBLE, "Direction that the wind comes from, clockwise from north",
            unit="deg", nullable=True, minimum=0, maximum=360, steady=True,
        ),
        Measure(
            "precipitation_mm", ColumnType.DOUBLE, "Precipitation since the report before",
            unit="mm", nullable=True, minimum=0, maximum=500, steady=True,
        ),
    ),
)  # fmt: skip
