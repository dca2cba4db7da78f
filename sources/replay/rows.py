"""Rows of an input file as Arrow columns, a block at a time, with the number of each row."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that cannot become an event. ``row`` counts from 1: the line of a text file, header included."""

    row: int
    column: str | None
    value: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Rows:
    """A block of rows; ``columns`` has those that the mapping reads, text ones as the file has them."""

    numbers: npt.NDArray[np.int64]
    columns: dict[str, pa.Array]
    rejected: list[Rejected] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Table:
    """An opened input file: the names of all its columns, and its rows."""

    columns: tuple[str, ...]
    blocks: Iterator[Rows]
