"""Brings an Iceberg table to its contract without rewriting a file.

Iceberg knows columns by field ids (section "Schema Evolution" of its specification): a column that is renamed or
moved keeps its id, so that old files are read under the new name, and each snapshot remembers the schema that it
was written with.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise

from pyiceberg.exceptions import ResolveError
from pyiceberg.schema import promote
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.update.schema import UpdateSchema
from pyiceberg.types import IcebergType, NestedField

from contracts import Column, LakehouseError, Table
from resources.iceberg_schema import ICEBERG_TYPES, doc


class SchemaMismatchError(LakehouseError):
    """A table differs from its contract in a way that cannot be evolved safely."""


def evolve(existing: IcebergTable, declared: Table) -> list[str]:
    """Make ``existing`` what ``declared`` says, in one commit, or in none where one change is refused.

    - A column that the contract has gained is added, if it is nullable.
    - One with a wider type is widened, one that needs no value any more made optional.
    - One that is in the table under a name that it had ``formerly`` is renamed.
    - One that the contract names as ``retired`` is dropped. What the contract does not name at all stays: a
      checkout that is behind must not drop what another has added.
    - Columns stand in the order of the contract; what it does not name stands where it stood, or last.

    All of it is safe beside running writers, whose files carry field ids. A Flink job goes on with the columns
    that it was started with until ``./lakehouse jobs upgrade``; what it still writes of a dropped column is read
    by nobody. Spark resolves columns by name at each run.

    Returns:
        A line for each change.

    Raises:
        SchemaMismatchError: a new column is required, or one that the contract does not name; a type cannot be
            widened to the declared one; a table has a column under its new and an earlier name; its partitions or
            sort order need what is retired.
    """
    fields = {field.name: field for field in existing.schema().fields}
    changes: list[str] = []
    with existing.update_schema() as update:
        paths = {column.name: _present_as(declared, column, fields) for column in declared.columns}
        for column in declared.columns:
            path = paths[column.name]
            if path is None:
                changes += _add(declared, column, update)
            else:
                changes += _alter(declared, column, fields[path], update)
        changes += _drop(existing, declared, fields, update)
        _refuse_unfilled(declared, {path for path in paths.values() if path is not None}, fields)
        changes += _arrange(declared, paths, list(fields), update)
    return changes


def _present_as(declared: Table, column: Column, fields: Mapping[str, NestedField]) -> str | None:
    """The name that the table has the column under, ``None`` if it has not."""
    found = [name for name in (column.name, *column.formerly) if name in fields]
    if len(found) > 1:
        raise SchemaMismatchError(
            f"{declared.identifier} has {' and '.join(found)}, one column by the contract: take out of `formerly` "
            f"of {column.name} what it is not renamed from, and name it in `retired` of the table if it is to go"
        )
    return found[0] if found else None


def _add(declared: Table, column: Column, update: UpdateSchema) -> Iterator[str]:
    name = f"{declared.identifier}.{column.name}"
    if not column.nullable:
        raise SchemaMismatchError(
            f"{name} is new and required, but old rows lack it: make it nullable in the contract, or name in "
            "`formerly` what it was called before"
        )
    update.add_column(column.name, ICEBERG_TYPES[column.type], doc=doc(column.unit, column.meaning))
    yield f"added {name}"


def _alter(declared: Table, column: Column, field: NestedField, update: UpdateSchema) -> Iterator[str]:
    name, expected = f"{declared.identifier}.{column.name}", ICEBERG_TYPES[column.type]
    if field.name != column.name:
        update.rename_column(field.name, column.name)
        yield f"renamed {declared.identifier}.{field.name} to {column.name}"
    if field.field_type != expected:
        if not _can_widen(field.field_type, expected):
            raise SchemaMismatchError(
                f"{name} is {field.field_type} in the catalog and {expected} in the contract: give the column "
                "another name there, and name this one in `retired` of the table if it is to go"
            )
        update.update_column(field.name, field_type=expected)
        yield f"widened {name} from {field.field_type} to {expected}"
    if field.required and column.nullable:
        update.update_column(field.name, required=False)
        yield f"made {name} nullable"


def _drop(
    existing: IcebergTable, declared: Table, fields: Mapping[str, NestedField], update: UpdateSchema
) -> Iterator[str]:
    needed = {field.source_id for spec in existing.specs().values() for field in spec.fields}
    needed |= {field.source_id for order in existing.sort_orders().values() for field in order.fields}
    for name in filter(fields.__contains__, declared.retired):
        if fields[name].field_id in needed:
            raise SchemaMismatchError(
                f"{declared.identifier}.{name} cannot be dropped, the table is partitioned or sorted by it: take "
                "it out of `retired`"
            )
        update.delete_column(name)
        yield f"dropped {declared.identifier}.{name}"


def _refuse_unfilled(declared: Table, known: Collection[str], fields: Mapping[str, NestedField]) -> None:
    for name, field in fields.items():
        if field.required and name not in known and name not in declared.retired:
            raise SchemaMismatchError(
                f"{declared.identifier}.{name} is required in the catalog and not in the contract, so that no row "
                "can be written: name it in `retired` of the table, or in `formerly` of the column that it became"
            )


def _arrange(
    declared: Table, paths: Mapping[str, str | None], present: Sequence[str], update: UpdateSchema
) -> Iterator[str]:
    """Move the columns, if those of the contract do not stand in its order; a move goes by the name before."""
    wanted = [path or name for name, path in paths.items()]
    added = [name for name, path in paths.items() if path is None]
    if [name for name in (*present, *added) if name in set(wanted)] == wanted:
        return
    update.move_first(wanted[0])
    for before, name in pairwise(wanted):
        update.move_after(name, before)
    yield f"ordered the columns of {declared.identifier}"


def _can_widen(present: IcebergType, expected: IcebergType) -> bool:
    """Whether old rows can be read as the new type (section "Schema Evolution" of the Iceberg specification)."""
    try:
        return promote(present, expected) == expected
    except ResolveError:
        return False
