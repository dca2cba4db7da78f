"""Rows of an NDJSON file: one flat object a line."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa

from sources.errors import InputFileError
from sources.replay.files import line_blocks
from sources.replay.rows import Rejected, Rows, Table

_SHOWN = 200


def open_ndjson(path: Path, wanted: tuple[str, ...], ignored: frozenset[str] | None) -> Table:
    """Open an NDJSON file. Its columns are the members of the objects in its first block.

    A later object that has a member which is neither ``wanted`` nor ``ignored`` is rejected; ``ignored`` of
    ``None`` ignores all.

    Raises:
        InputFileError: the file cannot be read, or there is no object in its first block.
    """
    blocks = line_blocks(path)
    first = next(blocks, b"")
    names: dict[str, None] = {}
    for line in first.splitlines():
        row = _object(line)
        if isinstance(row, dict):
            names |= dict.fromkeys(row)
    if not names:
        raise InputFileError(f"{path}: row 1: no JSON object: one object a line is wanted")
    allowed = None if ignored is None else ignored | frozenset(wanted)
    return Table(tuple(names), _rows(chain([first], blocks), wanted, allowed))


def _rows(blocks: Iterator[bytes], wanted: tuple[str, ...], allowed: frozenset[str] | None) -> Iterator[Rows]:
    line = 1
    for block in blocks:
        lines = block.split(b"\n")[:-1]
        yield _parse(lines, line, wanted, allowed)
        line += len(lines)


def _parse(lines: list[bytes], first: int, wanted: tuple[str, ...], allowed: frozenset[str] | None) -> Rows:
    numbers: list[int] = []
    values: list[list[str | None]] = []
    rejected: list[Rejected] = []
    for number, line in enumerate(lines, start=first):
        if not line.strip():
            continue
        row = _object(line)
        if isinstance(row, str):
            rejected.append(Rejected(number, None, line[:_SHOWN].decode(errors="replace"), row))
            continue
        surplus = () if allowed is None else row.keys() - allowed
        if surplus:
            name = min(surplus)
            rejected.append(Rejected(number, name, _text(row[name]), "column is neither mapped nor ignored"))
            continue
        nested = next((name for name in wanted if isinstance(row.get(name), dict | list)), None)
        if nested is not None:
            rejected.append(Rejected(number, nested, _text(row[nested]), "is no single value"))
            continue
        numbers.append(number)
        values.append([_text(row.get(name)) for name in wanted])
    columns = {name: pa.array([row[index] for row in values], pa.string()) for index, name in enumerate(wanted)}
    return Rows(np.array(numbers, dtype=np.int64), columns, rejected)


def _object(line: bytes) -> dict[str, object] | str:
    """The object of a line, or why there is none."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return f"not JSON: {error}"
    return row if isinstance(row, dict) else "not a JSON object"


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value).decode()
