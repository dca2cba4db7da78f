"""Units, held against their definitions."""

import numpy as np
import pytest

from sources.replay.units import UnitError, check_unit, convert


@pytest.mark.parametrize(
    ("value", "unit", "contract", "expected"),
    [
        (32.0, "degF", "degC", 0.0),
        (-40.0, "degF", "degC", -40.0),
        (300.0, "kelvin", "degC", 26.85),
        (60.0, "mph", "km/h", 96.56064),
        (10.0, "mph", "m/s", 4.4704),
        (10.0, "knot", "m/s", 5.144444444),
        (29.92, "inHg", "hPa", 1013.2075),
        (1013.0, "millibar", "hPa", 1013.0),
        (1500.0, "W", "kW", 1.5),
        (3.6e6, "J", "kWh", 1.0),
        (1.0, "inch", "mm", 25.4),
        (45.0, "percent", "1", 0.45),
        (0.45, "1", "%", 45.0),
        (7.0, "count", "{vehicle}", 7.0),
        (3.5, "degC", "degC", 3.5),
        (3.5, None, "1", 3.5),
    ],
)
def test_conversions(value: float, unit: str | None, contract: str, expected: float) -> None:
    check_unit(unit, contract)
    assert convert(np.array([value]), unit, contract)[0] == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_missing_values_stay_missing() -> None:
    assert np.isnan(convert(np.array([np.nan]), "degF", "degC")[0])


@pytest.mark.parametrize(
    ("unit", "contract", "message"),
    [
        ("furlongs_per", "m/s", "unknown unit 'furlongs_per'"),
        ("m**", "m/s", "unknown unit"),
        ("((", "m/s", "unknown unit"),
        ("1/0", "m/s", "unknown unit"),
        ("degF", "m/s", "'degF' does not convert to m/s"),
        (None, "degC", "is missing"),
        ("m", None, "no unit"),
    ],
)
def test_what_is_no_unit_is_refused(unit: str | None, contract: str | None, message: str) -> None:
    with pytest.raises(UnitError, match=message.replace("(", r"\(")):
        check_unit(unit, contract)
