"""Reads an input file as events: opens it by its format, checks it against its mapping, counts its rows."""

from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import orjson
import pyarrow as pa

from contracts import Family
from sources.errors import InputFileError
from sources.outgoing import Outgoing, outgoing
from sources.replay.csv_file import open_csv
from sources.replay.files import check_readable, file_format
from sources.replay.json_file import open_ndjson
from sources.replay.mapping import Mapping, load_mapping
from sources.replay.parquet_file import open_parquet
from sources.replay.rows import Rejected, Rows, Table
from sources.replay.transform import Transformer

FIRST_ROWS = 1000
"""When none of so many first rows can be used, the mapping is wrong and not the rows."""


class EventReader:
    """Reads a file through its mapping and counts what it reads: ``limit`` rows at most.

    Raises:
        MappingError, InputFileError: the mapping or the file cannot be used.
    """

    def __init__(self, path: Path, family: Family, mapping_path: Path, limit: int | None = None) -> None:
        self._path = path
        self._limit = limit
        mapping = load_mapping(mapping_path, family)
        self._mapping_path = mapping_path
        self._transformer = Transformer(family, mapping)
        check_readable(path)
        table = _open(path, mapping)
        self._check_columns(table, mapping)
        self._blocks = self._limited(table.blocks)
        self.rows_read = 0
        self.rejected_by_reason: dict[str, int] = {}

    def peek(self) -> tuple[pa.RecordBatch, list[Rejected]]:
        """Transform the first block, which stays the first of :meth:`records`.

        Raises:
            InputFileError: the file has no rows, or none of its first can be used.
        """
        first = next((block for block in self._blocks if _row_count(block)), None)
        if first is None:
            raise InputFileError(f"{self._path}: has no rows")
        self._blocks = chain([first], self._blocks)
        events, rejected = self._transform(first)
        if not events.num_rows or (len(rejected) >= FIRST_ROWS and self._first_are(rejected, first)):
            problem = rejected[0]
            raise InputFileError(f"{self._path}: {_describe(problem)} (none of the first rows can be used)")
        return events, rejected

    def records(self, rejected_file: BinaryIO) -> Iterator[Outgoing]:
        """Events of the whole file; rows that cannot become events are counted and written down."""
        for block in self._blocks:
            events, rejected = self._transform(block)
            self.rows_read += _row_count(block)
            for row in rejected:
                reason = row.reason if row.column is None else f"{row.column}: {row.reason}"
                self.rejected_by_reason[reason] = self.rejected_by_reason.get(reason, 0) + 1
                rejected_file.write(orjson.dumps({"file": str(self._path), **asdict(row)}) + b"\n")
            yield outgoing(events)

    def _transform(self, block: Rows) -> tuple[pa.RecordBatch, list[Rejected]]:
        try:
            return self._transformer.events(block)
        except InputFileError as error:
            raise InputFileError(f"{self._path}: {error}") from error

    def _first_are(self, rejected: list[Rejected], block: Rows) -> bool:
        numbers = _row_numbers(block)
        return bool(rejected[FIRST_ROWS - 1].row <= numbers[FIRST_ROWS - 1])

    def _limited(self, blocks: Iterator[Rows]) -> Iterator[Rows]:
        left = self._limit
        for block in blocks:
            if left is None:
                yield block
                continue
            limited = _first_rows(block, left)
            left -= _row_count(limited)
            yield limited
            if left <= 0:
                return

    def _check_columns(self, table: Table, mapping: Mapping) -> None:
        for name in mapping.source_columns:
            if name not in table.columns:
                raise InputFileError(
                    f"{self._path}: has no column {name!r}, which {self._mapping_path} names; "
                    f"it has {', '.join(table.columns)}"
                )
        if mapping.ignore == "*":
            return
        known = {*mapping.source_columns, *mapping.ignore}
        surplus = [name for name in table.columns if name not in known]
        if surplus:
            raise InputFileError(
                f"{self._path}: column {surplus[0]!r} is neither mapped nor listed under ignore in "
                f"{self._mapping_path}" + (f" (nor are {', '.join(surplus[1:])})" if surplus[1:] else "")
            )


def _open(path: Path, mapping: Mapping) -> Table:
    # a column that does not exist is reported by name afterwards, so readers must not fail on it
    match file_format(path, mapping.format):
        case "csv":
            return open_csv(path, mapping.csv, mapping.source_columns)
        case "ndjson":
            ignored = None if mapping.ignore == "*" else frozenset(mapping.ignore)
            return open_ndjson(path, mapping.source_columns, ignored)
        case "parquet":
            return open_parquet(path, mapping.source_columns)


def _row_count(block: Rows) -> int:
    return len(block.numbers) + len(block.rejected)


def _row_numbers(block: Rows) -> list[int]:
    return sorted([*block.numbers.tolist(), *(row.row for row in block.rejected)])


def _first_rows(block: Rows, count: int) -> Rows:
    numbers = _row_numbers(block)
    if len(numbers) <= count:
        return block
    beyond = numbers[count]
    kept = int((block.numbers < beyond).sum())
    return Rows(
        block.numbers[:kept],
        {name: column.slice(0, kept) for name, column in block.columns.items()},
        [row for row in block.rejected if row.row < beyond],
    )


def _describe(problem: Rejected) -> str:
    column = "" if problem.column is None else f", column {problem.column}"
    value = "" if problem.value is None else f" {problem.value!r}"
    return f"row {problem.row}{column}:{value} {problem.reason}"
