"""Bounding boxes as RFC 7946, section 5 has them: ``west,south,east,north`` in degrees of WGS 84."""

from pyiceberg.expressions import And, BooleanExpression, Or

from api.rows.filters import Operator, compare, parse_value
from contracts import ColumnType, Table

LATITUDE, LONGITUDE = "latitude", "longitude"
EXPECTED = "west,south,east,north in degrees, like 13.3,52.4,13.5,52.6"


def has_places(table: Table) -> bool:
    """Whether each row of ``table`` says where it was measured."""
    return {LATITUDE, LONGITUDE} <= {column.name for column in table.columns}


def parse_bounding_box(text: str) -> BooleanExpression:
    """Build the scan filter for the places in a box, its edges included.

    A box whose west is east of its east crosses the antimeridian (section 5.2).

    Raises:
        ValueError: ``text`` is not a box; the message says what is.
    """
    try:
        west, south, east, north = (float(parse_value(ColumnType.DOUBLE, item)) for item in text.split(","))  # type: ignore[arg-type]
    except ValueError as error:
        raise ValueError(f"{text[:80]!r} is not a box: write {EXPECTED}") from error
    if not (-180 <= west <= 180 and -180 <= east <= 180):
        raise ValueError(f"a longitude lies outside -180 to 180: write {EXPECTED}")
    if not -90 <= south <= north <= 90:
        raise ValueError(f"south {south:g} and north {north:g} are not latitudes in that order: write {EXPECTED}")
    from_west = compare(LONGITUDE, Operator.GE, west)
    to_east = compare(LONGITUDE, Operator.LE, east)
    between = Or(from_west, to_east) if west > east else And(from_west, to_east)
    return And(And(compare(LATITUDE, Operator.GE, south), compare(LATITUDE, Operator.LE, north)), between)
