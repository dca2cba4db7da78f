"""The mapping file: how the columns of somebody's file become events of a family."""

import math
import string
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from contracts import Column, ColumnType, Family
from contracts.tables import REQUIRED_EVENT_COLUMNS, event_columns
from sources.errors import MappingError
from sources.replay.units import UnitError, check_unit

Name = Annotated[str, StringConstraints(min_length=1)]
EpochUnit = Literal["s", "ms", "us", "ns"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CsvMapping(_Strict):
    """How a CSV file is written; quoted values cannot contain line ends."""

    delimiter: Annotated[str, StringConstraints(min_length=1, max_length=1)] = ","
    quote: Annotated[str, StringConstraints(min_length=1, max_length=1)] | None = '"'
    encoding: str = "utf-8"
    decimal: Literal[".", ","] = "."

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str) -> str:
        try:
            "a\n1,;\t".encode(encoding)
        except LookupError as error:
            raise ValueError(f"unknown encoding {encoding!r}") from error
        if "a\n1,;\t".encode(encoding) != b"a\n1,;\t":
            raise ValueError(f"{encoding} is no superset of ASCII: convert the file to UTF-8")
        return encoding


class TimeMapping(_Strict):
    """Where an event's time comes from.

    ``columns`` are joined by single spaces and read by ``format``: ``iso8601`` or directives of ``strptime``.
    With ``epoch`` the one column is a number of those units since 1970-01-01T00:00Z. ``time_zone`` is an IANA
    name; times without an offset of their own are its wall-clock times.

    ``ambiguous`` decides on wall-clock times that occur twice, when clocks go back: the ``earliest`` instant
    (daylight saving time), the ``latest`` (standard time), or ``reject`` the row. ``nonexistent`` decides on
    those that clocks skip when they go forward: ``shift`` reads them with the offset from before the change,
    so that 02:30 becomes 03:30 of the new time, or ``reject``. The defaults, ``latest`` and ``shift``, are
    what DuckDB's ``AT TIME ZONE`` and other ICU users do.
    """

    columns: Annotated[tuple[Name, ...], Field(min_length=1)]
    format: Name | None = None
    epoch: EpochUnit | None = None
    time_zone: str | None = None
    ambiguous: Literal["earliest", "latest", "reject"] = "latest"
    nonexistent: Literal["shift", "reject"] = "shift"

    @field_validator("columns", mode="before")
    @classmethod
    def _one_or_several(cls, columns: object) -> object:
        return (columns,) if isinstance(columns, str) else columns

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str | None) -> str | None:
        if name is not None:
            try:
                ZoneInfo(name)
            except (ValueError, OSError, LookupError) as error:
                raise ValueError(f"unknown time zone {name!r}: use an IANA name such as Europe/Paris") from error
        return name

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.format is None) == (self.epoch is None):
            raise ValueError("say either format or epoch")
        if self.epoch is not None and len(self.columns) != 1:
            raise ValueError("an epoch is one column")
        if self.epoch is not None and self.time_zone is not None:
            raise ValueError("an epoch counts in UTC: leave time_zone out")
        if self.format is not None and self.format != "iso8601" and "%" not in self.format:
            raise ValueError(f"format {self.format!r} is neither iso8601 nor has it a strptime directive")
        if self.format is not None and self.format != "iso8601":
            if not any(directive in self.format for directive in ("%Y", "%y", "%G")):
                raise ValueError(f"format {self.format!r} has no year")
            if "%z" in self.format and self.time_zone is not None:
                raise ValueError("format has an offset (%z): leave time_zone out")
            if "%z" not in self.format and self.time_zone is None:
                raise ValueError("time_zone is missing: say which wall clock the times are of, for instance UTC")
        return self


class EventIdMapping(_Strict):
    """What an event's identifier is the hash of, beside the family and the sensor.

    ``columns`` are columns of the file, ``row_number`` adds the row's number: choose it where rows that look
    the same are different measurements.
    """

    columns: tuple[Name, ...] = ()
    row_number: bool = False

    @model_validator(mode="after")
    def _of_something(self) -> Self:
        if not self.columns and not self.row_number:
            raise ValueError("name columns, or set row_number: true")
        return self


class ColumnMapping(_Strict):
    """Where the values of a contract's column come from: a ``column`` of the file in a ``unit``, or a constant."""

    column: Name | None = None
    unit: str | None = None
    constant: str | float | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.column is None) == (self.constant is None):
            raise ValueError("say either column or constant")
        if self.constant is not None and self.unit is not None:
            raise ValueError("a constant is in the contract's unit: leave unit out")
        return self


class Mapping(_Strict):
    """A whole mapping file.

    ``sensor_id`` is text with columns of the file in braces (``station-{origin}``). ``missing`` are the texts
    that stand for an absent value. ``ignore`` lists the columns of the file that are left out, ``"*"`` all
    that are not mapped. With ``require_any`` a row without a single measure is rejected.
    """

    format: Literal["csv", "ndjson", "parquet"] | None = None
    """By default what the file's name says."""
    csv: CsvMapping = CsvMapping()
    missing: tuple[str, ...] = ("",)
    time: TimeMapping
    sensor_id: Name
    event_id: EventIdMapping
    columns: dict[str, ColumnMapping]
    ignore: tuple[Name, ...] | Literal["*"] = ()
    require_any: bool = False

    @field_validator("sensor_id")
    @classmethod
    def _readable_template(cls, template: str) -> str:
        try:
            parse_template(template)
        except ValueError as error:
            raise ValueError(f"template {template!r}: {error}") from error
        return template

    @property
    def source_columns(self) -> tuple[str, ...]:
        """Columns of the file that the mapping reads, each once."""
        named = [
            *self.time.columns,
            *(field for _, field in parse_template(self.sensor_id) if field is not None),
            *self.event_id.columns,
            *(column.column for column in self.columns.values() if column.column is not None),
        ]
        return tuple(dict.fromkeys(named))


def parse_template(template: str) -> list[tuple[str, str | None]]:
    """Split a template into pieces: literal text, and the column that follows it or ``None`` at the end.

    Raises:
        ValueError: braces do not match, or hold more than a name.
    """
    pieces = []
    for literal, field, specification, conversion in string.Formatter().parse(template):
        if field == "" or specification or conversion:
            raise ValueError("braces hold the name of a column and nothing else")
        pieces.append((literal, field))
    return pieces


def load_mapping(path: Path, family: Family) -> Mapping:
    """Read a mapping file and hold it against the contract of ``family``.

    Raises:
        MappingError: the file cannot be read, or says something that does not fit; names the file and the key.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MappingError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise MappingError(f"{path}: is not UTF-8 text") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f", line {mark.line + 1}"
        raise MappingError(f"{path}{where}: is no YAML: {getattr(error, 'problem', 'unreadable')}") from error
    if not isinstance(content, dict):
        raise MappingError(
            f"{path}: is no mapping: a YAML object with time, sensor_id, event_id, columns is wanted"
        )
    try:
        mapping = Mapping.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        # a union's branches would show as parts of the path
        key = ".".join(str(part) for part in problem["loc"] if "[" not in str(part))
        message = problem["msg"].removeprefix("Value error, ")
        raise MappingError(f"{path}: {key or 'mapping'}: {message}") from error
    _check_columns(path, mapping, family)
    return mapping


def _check_columns(path: Path, mapping: Mapping, family: Family) -> None:
    contract = {
        column.name: column for column in event_columns(family) if column.name not in REQUIRED_EVENT_COLUMNS
    }
    for name, source in mapping.columns.items():
        column = contract.get(name)
        if column is None:
            raise MappingError(
                f"{path}: columns.{name}: {family.name} has no such column to map; it has {', '.join(contract)}"
            )
        if source.constant is not None:
            _check_constant(path, column, source.constant)
            continue
        try:
            check_unit(source.unit, column.unit)
        except UnitError as error:
            raise MappingError(f"{path}: columns.{name}.unit: {error}") from error
    for name, column in contract.items():
        if not column.nullable and name not in mapping.columns:
            raise MappingError(
                f"{path}: columns.{name}: is missing, and {family.name} events cannot be without it"
            )


def _check_constant(path: Path, column: Column, constant: str | float) -> None:
    where = f"{path}: columns.{column.name}.constant"
    if isinstance(constant, str) != (column.type is ColumnType.STRING):
        raise MappingError(f"{where}: {constant!r} is no {column.type}")
    if isinstance(constant, str):
        return
    low = -math.inf if column.minimum is None else column.minimum
    high = math.inf if column.maximum is None else column.maximum
    # written so that nan is refused as well
    if not low <= constant <= high:
        raise MappingError(f"{where}: {constant:g} is outside {low:g} to {high:g}")
