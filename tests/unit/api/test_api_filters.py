"""What a filter's text means, held against DuckDB's idea of the same SQL."""

import duckdb
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pyiceberg.expressions.visitors import expression_evaluator
from pyiceberg.schema import Schema
from pyiceberg.typedef import Record
from pyiceberg.types import NestedField, StringType

from api.rows.filters import Operator, parse_filter
from contracts import Column, ColumnType

ZONE = Column("zone", ColumnType.STRING, "Zone")
SCHEMA = Schema(NestedField(1, "zone", StringType()))
SIGNS = st.text("aé%_\\\n", max_size=5)


@pytest.fixture(scope="module")
def duck() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


@hypothesis_settings(max_examples=400, deadline=None)
@given(beginning=SIGNS, wildcards=st.sampled_from(["", "%", "%%"]), rest=SIGNS)
def test_a_beginning_is_what_like_finds(
    duck: duckdb.DuckDBPyConnection, beginning: str, wildcards: str, rest: str
) -> None:
    pattern = beginning.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") + wildcards
    found = expression_evaluator(SCHEMA, parse_filter(ZONE, Operator.LIKE, pattern), case_sensitive=True)
    for value in (beginning, beginning + rest, rest):
        expected = duck.execute(r"SELECT ? LIKE ? ESCAPE '\'", [value, pattern]).fetchone()
        assert (found(Record(value)),) == expected


@pytest.mark.parametrize("pattern", ["%a", "a%b", "_", "a_%", "a\\", "\\a", "%_"])
def test_other_patterns_are_refused_rather_than_misread(pattern: str) -> None:
    with pytest.raises(ValueError, match="no other pattern"):
        parse_filter(ZONE, Operator.LIKE, pattern)
