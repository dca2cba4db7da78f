"""Energy: electricity meters of buildings and street cabinets."""

from contracts.model import ColumnType, Family, Measure, MeasureKind
from contracts.zones import CITY_ZONES

FAMILY = Family(
    name="energy",
    description="Electricity meters of buildings and street cabinets",
    owners=("team:energy",),
    zones=CITY_ZONES,
    measures=(
        Measure(
            "active_power_kw", ColumnType.DOUBLE, "Active power drawn; negative when feeding in",
            unit="kW", nullable=True, minimum=-10_000, maximum=10_000,
        ),
        Measure(
            "energy_kwh", ColumnType.DOUBLE, "Meter reading: energy drawn since installation or the last reset",
            unit="kWh", nullable=True, minimum=0, maximum=1e12, kind=MeasureKind.COUNTER, steady=True,
        ),
        Measure(
            "voltage_v", ColumnType.DOUBLE, "Phase-to-neutral voltage",
            unit="V", nullable=True, minimum=0, maximum=500,
        ),
        Measure(
            "frequency_hz", ColumnType.DOUBLE, "Mains frequency",
            unit="Hz", nullable=True, minimum=40, maximum=70,
        ),
        Measure(
            "power_factor", ColumnType.DOUBLE, "Ratio of active to apparent power",
            unit="1", nullable=True, minimum=-1, maximum=1, steady=True,
        ),
    ),
)  # fmt: skip
