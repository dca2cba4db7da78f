"""Opens input files, compressed or not, and cuts text into blocks of whole lines."""

import gzip
import lzma
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import Literal

import zstandard

from sources.errors import InputFileError

FileFormat = Literal["csv", "ndjson", "parquet"]

BLOCK_BYTES = 1 << 20
LONGEST_LINE = 16 << 20

_COMPRESSIONS = {".gz", ".xz", ".zst"}
_FORMATS: dict[str, FileFormat] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def file_format(path: Path, declared: FileFormat | None) -> FileFormat:
    """Format of ``path``: the ``declared`` one, else what its name says.

    Raises:
        InputFileError: the name says nothing.
    """
    if declared is not None:
        return declared
    plain = path.with_suffix("") if path.suffix.lower() in _COMPRESSIONS else path
    known = _FORMATS.get(plain.suffix.lower())
    if known is None:
        raise InputFileError(
            f"{path}: the name does not say what it is: set format in the mapping to csv or ndjson"
        )
    return known


def check_readable(path: Path) -> None:
    """Raise :class:`InputFileError` unless ``path`` is a file that has content and may be read."""
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise InputFileError(f"{path}: is empty")
    except OSError as error:
        raise InputFileError(f"{path}: cannot be read: {error.strerror}") from error


def line_blocks(path: Path) -> Iterator[bytes]:
    """Content of a text file in blocks of whole lines of about a mebibyte; each ends with a line feed.

    Raises:
        InputFileError: the file cannot be read or decompressed, or a line is too long to be one.
    """
    whole = b""
    try:
        with _open(path) as file:
            rest = file.read(len(_BYTE_ORDER_MARK)).removeprefix(_BYTE_ORDER_MARK)
            while chunk := file.read(BLOCK_BYTES):
                head, line_feed, tail = chunk.rpartition(b"\n")
                if line_feed:
                    if whole:
                        yield whole
                    whole, rest = rest + head + line_feed, tail
                else:
                    rest += chunk
                if len(rest) > LONGEST_LINE:
                    raise InputFileError(f"{path}: a line is longer than {LONGEST_LINE >> 20} MiB: no text file")
    except (OSError, EOFError, lzma.LZMAError, zstandard.ZstdError) as error:
        raise InputFileError(f"{path}: cannot be read: {error}") from error
    # a last line without a line feed belongs to the last block, not to one of its own
    last = whole + rest + (b"\n" if rest else b"")
    if last:
        yield last


def _open(path: Path) -> BufferedIOBase:
    match path.suffix.lower():
        case ".gz":
            return gzip.open(path, "rb")
        case ".xz":
            return lzma.open(path, "rb")
        case ".zst":
            decompressed: BufferedIOBase = zstandard.open(path, "rb")
            return decompressed
        case _:
            return path.open("rb")
