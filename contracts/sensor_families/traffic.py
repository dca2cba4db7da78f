"""Traffic: induction loops and cameras that count vehicles on a road section."""

from contracts.model import ColumnType, Family, Measure
from contracts.rules import Counted
from contracts.zones import CITY_ZONES

FAMILY = Family(
    name="traffic",
    description="Road sections: vehicles counted, their speed and how full the road is",
    owners=("team:mobility",),
    zones=CITY_ZONES,
    measures=(
        Measure(
            "vehicle_count", ColumnType.LONG, "Vehicles counted since the report before",
            unit="{vehicle}", nullable=True, minimum=0, maximum=100_000, steady=True,
        ),
        Measure(
            "avg_speed_kmh", ColumnType.DOUBLE, "Mean speed of those vehicles",
            unit="km/h", nullable=True, minimum=0, maximum=300,
        ),
        Measure(
            "occupancy_ratio", ColumnType.DOUBLE, "Share of the time that the detector was covered",
            unit="1", nullable=True, minimum=0, maximum=1, steady=True,
        ),
    ),
    rules=(Counted("avg_speed_kmh", "vehicle_count", present=False, measured=True),),
)  # fmt: skip
