"""Rows of a CSV file. A broken line costs that line and nothing else."""

import csv
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv

from sources.errors import InputFileError
from sources.replay.files import line_blocks
from sources.replay.mapping import CsvMapping
from sources.replay.rows import Rejected, Rows, Table

_SHOWN = 200
"""Bytes of a broken line that a report shows."""


def open_csv(path: Path, dialect: CsvMapping, wanted: tuple[str, ...]) -> Table:
    """Open a CSV file whose first line names the columns; of the rows only ``wanted`` columns are kept.

    Raises:
        InputFileError: the file cannot be read, has no header, or names a column twice.
    """
    blocks = (_as_utf8(block, dialect.encoding) for block in line_blocks(path))
    first = next(blocks, b"")
    header_line, _, rest = first.partition(b"\n")
    try:
        header = _split(header_line.decode().rstrip("\r"), dialect)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputFileError(f"{path}: row 1: the header cannot be read: {error}") from error
    names = tuple(name.strip() for name in header)
    if not any(names):
        raise InputFileError(f"{path}: row 1: has no header")
    for name in names:
        if names.count(name) > 1:
            raise InputFileError(f"{path}: row 1: column {name!r} stands twice in the header")
    return Table(names, _Parser(dialect, names, wanted).rows(rest, blocks))


def _as_utf8(block: bytes, encoding: str) -> bytes:
    return block if encoding.lower() in {"utf-8", "utf8"} else block.decode(encoding, "replace").encode()


class _Parser:
    def __init__(self, dialect: CsvMapping, names: tuple[str, ...], wanted: tuple[str, ...]) -> None:
        self._dialect = dialect
        self._names = names
        self._wanted = wanted

    def rows(self, first: bytes, blocks: Iterator[bytes]) -> Iterator[Rows]:
        line = 2
        for block in chain([first] if first else [], blocks):
            yield self._parse(block, line)
            line += block.count(b"\n")

    def _parse(self, block: bytes, line: int) -> Rows:
        misshapen: list[tuple[int, int]] = []

        def skip(row: arrow_csv.InvalidRow) -> str:
            misshapen.append((row.number - 1, row.actual_columns))
            return "skip"

        try:
            block.decode()  # Arrow hands over misshapen rows as text, and cannot where they are none
            table = self._read(block, skip)
        except (UnicodeDecodeError, pa.ArrowInvalid):
            return self._parse_by_line(block, line)
        lines = block.count(b"\n")
        if table.num_rows + len(misshapen) != lines:
            # blank lines, or a stray quote that would swallow the lines after it
            return self._parse_by_line(block, line)
        numbers = np.arange(line, line + lines)
        rejected = []
        if misshapen:
            texts = block.split(b"\n")
            rejected = [self._wrong_width(line + index, texts[index], actual) for index, actual in misshapen]
            numbers = np.delete(numbers, [index for index, _ in misshapen])
        return Rows(numbers, {name: table.column(name).combine_chunks() for name in self._wanted}, rejected)

    def _read(self, block: bytes, on_invalid: Callable[[arrow_csv.InvalidRow], str]) -> pa.Table:
        return arrow_csv.read_csv(
            pa.py_buffer(block),
            read_options=arrow_csv.ReadOptions(
                # numbers of invalid rows are known to one thread only
                use_threads=False,
                column_names=list(self._names),
                block_size=len(block) + 1,
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=self._dialect.delimiter,
                quote_char=self._dialect.quote or False,
                invalid_row_handler=on_invalid,
            ),
            convert_options=arrow_csv.ConvertOptions(
                # bytes: text that is not UTF-8 is a fault of its row, not of the file
                column_types=dict.fromkeys(self._names, pa.binary()),
                include_columns=list(self._wanted),
                strings_can_be_null=False,
            ),
        )

    def _parse_by_line(self, block: bytes, line: int) -> Rows:
        numbers: list[int] = []
        kept: list[list[str]] = []
        rejected: list[Rejected] = []
        for number, raw in enumerate(block.split(b"\n")[:-1], start=line):
            content = raw.removesuffix(b"\r")
            if not content:
                continue
            try:
                # Latin-1 maps every byte to a character and back
                values = _split(content.decode("latin-1"), self._dialect)
            except csv.Error as error:
                rejected.append(Rejected(number, None, _shown(content), f"not a CSV line: {error}"))
                continue
            if len(values) != len(self._names):
                rejected.append(self._wrong_width(number, content, len(values)))
                continue
            numbers.append(number)
            kept.append(values)
        columns = {
            name: pa.array([row[index].encode("latin-1") for row in kept], pa.binary())
            for index, name in enumerate(self._names)
            if name in self._wanted
        }
        return Rows(np.array(numbers, dtype=np.int64), columns, rejected)

    def _wrong_width(self, row: int, content: bytes, actual: int) -> Rejected:
        return Rejected(row, None, _shown(content), f"{actual} columns instead of {len(self._names)}")


def _shown(content: bytes) -> str:
    return content[:_SHOWN].decode(errors="replace").rstrip("\r")


def _split(line: str, dialect: CsvMapping) -> list[str]:
    reader = csv.reader(
        [line],
        delimiter=dialect.delimiter,
        quotechar=dialect.quote,
        quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
        strict=True,
    )
    return next(reader, [])
