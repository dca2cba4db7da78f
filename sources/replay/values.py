"""Reads the values of a column, whatever type the file gives it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sources.replay.localtime import Bools

_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"


@dataclass(frozen=True, slots=True)
class Numbers:
    """Values of a column; ``nan`` where there is none, and also where ``invalid``."""

    values: npt.NDArray[np.float64]
    invalid: Bools


def is_text(column: pa.Array) -> bool:
    """Whether the file has the column as text."""
    return bool(pa.types.is_string(column.type) or pa.types.is_binary(column.type))


def text(column: pa.Array) -> pa.Array:
    """The column as text without surrounding white space; what is not UTF-8 shows replacement characters."""
    if pa.types.is_binary(column.type):
        column = _decoded(column)
    elif not pa.types.is_string(column.type):
        column = column.cast(pa.string())
    return pc.utf8_trim_whitespace(column)


def is_missing(column: pa.Array, missing: tuple[str, ...]) -> Bools:
    """Which values are absent: null, or one of the texts in ``missing``."""
    absent = pc.is_null(column)
    if is_text(column):
        absent = pc.or_(absent, pc.is_in(text(column), pa.array(missing, pa.string())))
    found: Bools = absent.to_numpy(zero_copy_only=False)
    return found


def numbers(column: pa.Array, missing: tuple[str, ...], decimal: str) -> Numbers:
    """The column as numbers."""
    absent = is_missing(column, missing)
    if not is_text(column):
        typed: npt.NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        values = np.where(absent, np.nan, typed)
        return Numbers(values, ~absent & ~np.isfinite(values))
    texts = text(column)
    if decimal != ".":
        texts = pc.replace_substring(texts, decimal, ".")
    readable = pc.fill_null(pc.match_substring_regex(texts, _NUMBER), False)
    invalid = ~absent & ~readable.to_numpy(zero_copy_only=False)
    usable = pc.if_else(pa.array(~absent & ~invalid), texts, None)
    # Arrow's parser knows no leading plus sign
    values = pc.cast(pc.replace_substring_regex(usable, r"^\+", ""), pa.float64()).to_numpy(zero_copy_only=False)
    return Numbers(values, invalid | np.isinf(values))


def _decoded(column: pa.Array) -> pa.Array:
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array(
            [None if value is None else value.decode(errors="replace") for value in column.to_pylist()]
        )
