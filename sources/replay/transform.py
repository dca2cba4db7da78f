"""Turns rows of a file into events of a family; a row that cannot become one is rejected with its reason."""

from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from contracts import Column, ColumnType, Family
from contracts.tables import event_columns
from sources.errors import InputFileError
from sources.replay.localtime import Bools
from sources.replay.mapping import ColumnMapping, Mapping, parse_template
from sources.replay.rows import Rejected, Rows
from sources.replay.times import TimeReader
from sources.replay.units import convert
from sources.replay.values import is_missing, numbers, text
from sources.wire import event_schema

_SEPARATOR = "\x1f"
_ID_BYTES = 16


class _Verdicts:
    """Which rows of a block are rejected; the first reason found stands."""

    def __init__(self, rows: Rows) -> None:
        self._numbers = rows.numbers
        self._columns = rows.columns
        self.bad: Bools = np.zeros(len(rows.numbers), dtype=bool)
        self.rejected = list(rows.rejected)

    def reject(self, which: Bools, reason: str, columns: tuple[str, ...] = ()) -> None:
        new = which & ~self.bad
        self.bad = self.bad | which
        for position in np.flatnonzero(new).tolist():
            values = [text(self._columns[name].slice(position, 1))[0].as_py() for name in columns]
            shown = " ".join("" if value is None else value for value in values) if columns else None
            self.rejected.append(Rejected(int(self._numbers[position]), " ".join(columns) or None, shown, reason))


class Transformer:
    """Applies a mapping to block after block of rows."""

    def __init__(self, family: Family, mapping: Mapping) -> None:
        self._family = family
        self._mapping = mapping
        self._schema = event_schema(family)
        self._contract = {column.name: column for column in event_columns(family)}
        self._times = TimeReader(mapping.time, mapping.missing, mapping.csv.decimal)
        self._template = parse_template(mapping.sensor_id)

    def events(self, rows: Rows) -> tuple[pa.RecordBatch, list[Rejected]]:
        """Events of the rows that can be used, in their order, and the others by row.

        Raises:
            InputFileError: a column's type in the file is none that its mapping can read.
        """
        verdicts = _Verdicts(rows)
        times = self._times.read(rows.columns)
        for problem in times.problems:
            verdicts.reject(problem.rows, problem.reason, self._mapping.time.columns)
        sensor_ids = self._sensor_ids(rows, verdicts)
        values = {
            name: self._values(rows, self._contract[name], source, verdicts)
            for name, source in self._mapping.columns.items()
        }
        if self._mapping.require_any:
            self._require_any(values, verdicts)
        built = {
            **values,
            "sensor_id": sensor_ids,
            "event_time": pa.array(times.times).cast(pa.timestamp("us", tz="UTC")),
        }
        usable = pa.array(~verdicts.bad)
        columns = {name: column.filter(usable) for name, column in built.items()}
        columns["event_id"] = self._event_ids(rows, usable, columns["sensor_id"])
        count = len(columns["event_id"])
        arrays = [columns.get(field.name, pa.nulls(count, field.type)).cast(field.type) for field in self._schema]
        return (
            pa.RecordBatch.from_arrays(arrays, schema=self._schema),
            sorted(verdicts.rejected, key=lambda rejected: rejected.row),
        )

    def _values(self, rows: Rows, column: Column, source: ColumnMapping, verdicts: _Verdicts) -> pa.Array:
        count = len(rows.numbers)
        if source.column is None:
            if isinstance(source.constant, str):
                return pa.array([source.constant]).take(pa.array(np.zeros(count, dtype=np.int64)))
            return pa.array(np.full(count, source.constant, dtype=np.float64))
        found = rows.columns[source.column]
        if column.type is ColumnType.STRING:
            missing = is_missing(found, self._mapping.missing)
            values = pc.if_else(pa.array(~missing), text(found), None)
        else:
            values, missing = self._numbers(found, column, source, verdicts)
        if not column.nullable:
            verdicts.reject(missing, "no value", (source.column,))
        return values

    def _numbers(
        self, found: pa.Array, column: Column, source: ColumnMapping, verdicts: _Verdicts
    ) -> tuple[pa.Array, Bools]:
        name = source.column or column.name
        try:
            read = numbers(found, self._mapping.missing, self._mapping.csv.decimal)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InputFileError(f"column {name!r} is of type {found.type}, a number is wanted") from error
        verdicts.reject(read.invalid, "not a number", (name,))
        values = convert(read.values, source.unit, column.unit)
        if column.type in {ColumnType.INT, ColumnType.LONG}:
            # a conversion may leave a whole number a rounding error away
            whole = np.rint(values)
            verdicts.reject(np.abs(values - whole) > 1e-6, "not a whole number", (name,))
            values = whole
        low = -np.inf if column.minimum is None else column.minimum
        high = np.inf if column.maximum is None else column.maximum
        outside = (values < low) | (values > high)
        verdicts.reject(outside, f"outside {low:g} to {high:g} {column.unit}", (name,))
        return self._typed(values, outside | read.invalid, column), np.isnan(values) & ~read.invalid

    def _typed(self, values: npt.NDArray[np.float64], bad: Bools, column: Column) -> pa.Array:
        array = pa.array(np.where(bad, np.nan, values), from_pandas=True)
        return array if column.type is ColumnType.DOUBLE else array.cast(pa.int64(), safe=False)

    def _require_any(self, values: dict[str, pa.Array], verdicts: _Verdicts) -> None:
        measured = [values[measure.name] for measure in self._family.measures if measure.name in values]
        absent = [array.is_null().to_numpy(zero_copy_only=False) for array in measured]
        verdicts.reject(np.logical_and.reduce(absent), "all measures are missing")

    def _sensor_ids(self, rows: Rows, verdicts: _Verdicts) -> pa.Array:
        pieces: list[pa.Array | str] = []
        for literal, name in self._template:
            pieces.append(literal)
            if name is not None:
                verdicts.reject(is_missing(rows.columns[name], self._mapping.missing), "no value", (name,))
                pieces.append(pc.fill_null(text(rows.columns[name]), ""))
        count = len(rows.numbers)
        return pc.binary_join_element_wise(pa.array([""]).take(pa.array(np.zeros(count, np.int64))), *pieces, "")

    def _event_ids(self, rows: Rows, usable: pa.Array, sensor_ids: pa.Array) -> pa.Array:
        chosen = self._mapping.event_id
        parts = [pc.fill_null(text(rows.columns[name].filter(usable)), "") for name in chosen.columns]
        if chosen.row_number:
            parts.append(pa.array(rows.numbers).filter(usable).cast(pa.string()))
        joined = pc.binary_join_element_wise(sensor_ids, *parts, _SEPARATOR).to_pylist()
        start = blake2b(f"{self._family.name}{_SEPARATOR}".encode(), digest_size=_ID_BYTES)
        identifiers = []
        for identity in joined:
            hashed = start.copy()
            hashed.update(identity.encode())
            identifiers.append(hashed.hexdigest())
        return pa.array(identifiers, pa.string())
