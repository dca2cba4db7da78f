"""Rows of a Parquet file, whose columns have types already."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sources.errors import InputFileError
from sources.replay.rows import Rows, Table

_BATCH_ROWS = 16_384


def open_parquet(path: Path, wanted: tuple[str, ...]) -> Table:
    """Open a Parquet file; of the rows only ``wanted`` columns are read.

    Raises:
        InputFileError: the file is no Parquet file, or is compressed as a whole.
    """
    if path.suffix.lower() in {".gz", ".xz", ".zst"}:
        raise InputFileError(f"{path}: a Parquet file is read at random: decompress it first")
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputFileError(f"{path}: is no Parquet file: {str(error).splitlines()[0]}") from error
    return Table(tuple(file.schema_arrow.names), _rows(path, file, wanted))


def _rows(path: Path, file: pq.ParquetFile, wanted: tuple[str, ...]) -> Iterator[Rows]:
    first = 1
    try:
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(wanted), use_threads=False):
            numbers = np.arange(first, first + batch.num_rows)
            yield Rows(numbers, {name: _plain(batch.column(name)) for name in wanted})
            first += batch.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        raise InputFileError(f"{path}: row {first} and after cannot be read: {error}") from error


def _plain(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        return column.dictionary_decode()
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        return column.cast(pa.string())
    return column
