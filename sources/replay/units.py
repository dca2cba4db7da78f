"""Units: from that of a file to that of the contract."""

from functools import cache
from tokenize import TokenError

import numpy as np
import numpy.typing as npt
import pint


class UnitError(ValueError):
    """A unit is unknown, missing, or measures something else."""


@cache
def _registry() -> pint.UnitRegistry[float]:
    # offset units (degF) convert as readings, not as differences
    return pint.UnitRegistry(autoconvert_offset_to_baseunit=True)


def check_unit(unit: str | None, contract_unit: str | None) -> None:
    """Make sure that ``unit`` converts to ``contract_unit``.

    Raises:
        UnitError: says what is wrong and what is expected.
    """
    if contract_unit is None:
        if unit is not None:
            raise UnitError(f"{unit!r} is given for a column that has no unit")
        return
    if unit is None:
        if _parse(contract_unit).dimensionless:
            return
        raise UnitError(f"is missing: name the unit of the file; the contract's is {contract_unit}")
    if not _parse(unit).is_compatible_with(_parse(contract_unit)):
        raise UnitError(f"{unit!r} does not convert to {contract_unit}")


def convert(
    values: npt.NDArray[np.float64], unit: str | None, contract_unit: str | None
) -> npt.NDArray[np.float64]:
    """Convert ``values`` from ``unit`` to ``contract_unit``; without ``unit`` they are in it already."""
    if unit is None or contract_unit is None or unit == contract_unit:
        return values
    quantity = _registry().Quantity(values, _parse(unit))
    converted: npt.NDArray[np.float64] = np.asarray(quantity.to(_parse(contract_unit)).magnitude)
    return converted


@cache
def _parse(unit: str) -> pint.Unit:
    # UCUM writes a ratio as 1 and a count of things as {thing}
    if unit == "1" or (unit.startswith("{") and unit.endswith("}")):
        return _registry().Unit("dimensionless")
    try:
        return _registry().Unit(unit)
    except (pint.PintError, ValueError, ArithmeticError, AssertionError, TypeError, TokenError) as error:
        raise UnitError(f"unknown unit {unit!r}") from error
