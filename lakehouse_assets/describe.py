"""What Dagster shows of a contract: keys, columns with units, lineage, owners, freshness."""

from collections.abc import Sequence

import dagster as dg

from contracts import Column, Dataset, DatasetKind, Freshness, Table, Writer, dataset, table
from contracts.rules import Rule
from contracts.tables import WINDOW_BOUNDS

WRITER_KINDS = {
    Writer.FLINK: {"flink", "iceberg"},
    Writer.COLLECTOR: {"python", "iceberg"},
    Writer.SPARK: {"spark", "iceberg"},
    Writer.DAGSTER: {"python", "iceberg"},
}
DATASET_KINDS = {
    DatasetKind.TOPIC: {"kafka"},
    DatasetKind.HOT_VIEW: {"python", "redis"},
    DatasetKind.API: {"fastapi"},
}
DATASET_GROUPS = {DatasetKind.TOPIC: "topics", DatasetKind.HOT_VIEW: "hot_view", DatasetKind.API: "api"}


def dataset_key(declared: Dataset) -> dg.AssetKey:
    """Asset key of a dataset: kind and name."""
    return dg.AssetKey([str(declared.kind), declared.name])


def table_key(declared: Table) -> dg.AssetKey:
    """Asset key of a table: namespace and name."""
    return dg.AssetKey([str(declared.layer), declared.name])


def upstream_key(origin: str) -> dg.AssetKey:
    """Asset key of an entry of ``Table.derived_from``.

    Raises:
        ContractError: it names a table or dataset that no contract declares.
    """
    upstream = _upstream(origin)
    return table_key(upstream) if isinstance(upstream, Table) else dataset_key(upstream)


def dataset_spec(declared: Dataset) -> dg.AssetSpec:
    """A dataset as an external asset: services write or answer it, no run does."""
    return dg.AssetSpec(
        dataset_key(declared),
        deps=[upstream_key(origin) for origin in declared.derived_from],
        description=declared.description,
        group_name=DATASET_GROUPS[declared.kind],
        kinds=DATASET_KINDS[declared.kind],
        owners=list(declared.owners),
        tags={"family": declared.family, "layer": str(declared.kind)},
        freshness_policy=None if declared.freshness is None else freshness_policy(declared.freshness),
        metadata={
            "dagster/column_schema": column_schema(declared.columns),
            "dagster/column_lineage": column_lineage(declared.columns, declared.derived_from),
            **({} if declared.partitions is None else {"partitions": declared.partitions}),
            **({"routes": dg.MetadataValue.json(list(declared.routes))} if declared.routes else {}),
        },
    )


def table_spec(declared: Table) -> dg.AssetSpec:
    """A table as an asset: what is the same for external assets and for those that Dagster computes."""
    return dg.AssetSpec(
        table_key(declared),
        deps=[upstream_key(origin) for origin in declared.derived_from],
        description=declared.description,
        group_name=str(declared.layer),
        kinds=WRITER_KINDS[declared.writer],
        owners=list(declared.owners),
        tags={"family": declared.family, "layer": str(declared.layer)},
        freshness_policy=freshness_policy(declared.freshness),
        metadata={
            "dagster/column_schema": column_schema(declared.columns, key=declared.key, rules=declared.rules),
            "dagster/column_lineage": column_lineage(declared.columns, declared.derived_from),
            "dagster/table_name": declared.identifier,
        },
    )


def freshness_policy(declared: Freshness) -> dg.FreshnessPolicy:
    """How old the newest materialization may be."""
    return dg.FreshnessPolicy.time_window(fail_window=declared.fail_after, warn_window=declared.warn_after)


def column_schema(
    columns: Sequence[Column], key: Sequence[str] = (), rules: Sequence[Rule] = ()
) -> dg.TableSchema:
    """Columns with type, unit, meaning, nullability and valid range; ``key`` is unique as a whole.

    ``rules`` hold between the columns of a row.
    """
    constraints = [*([f"unique: {', '.join(key)}"] if key else []), *map(str, rules)]
    return dg.TableSchema(
        columns=[_table_column(column) for column in columns],
        constraints=dg.TableConstraints(other=constraints),
    )


def column_lineage(columns: Sequence[Column], derived_from: Sequence[str]) -> dg.TableColumnLineage:
    """Which upstream columns each column comes from; columns with no origin are left out.

    A column comes from those its contract names, else from its namesake; the bounds of a window come
    from the time of the events in it.
    """
    deps: dict[str, list[dg.TableColumnDep]] = {}
    for origin in derived_from:
        upstream = _upstream(origin)
        for column in columns:
            for source in _source_columns(column, origin, upstream):
                deps.setdefault(column.name, []).append(dg.TableColumnDep(upstream_key(origin), source))
    return dg.TableColumnLineage(deps)


def _table_column(column: Column) -> dg.TableColumn:
    limits = []
    if column.minimum is not None:
        limits.append(f">= {column.minimum:g}")
    if column.maximum is not None:
        limits.append(f"<= {column.maximum:g}")
    return dg.TableColumn(
        column.name,
        type=str(column.type),
        description=column.meaning if column.unit is None else f"{column.meaning} [{column.unit}]",
        constraints=dg.TableColumnConstraints(nullable=column.nullable, other=limits),
    )


def _upstream(origin: str) -> Table | Dataset:
    return dataset(origin) if ":" in origin else table(origin)


def _source_columns(column: Column, origin: str, upstream: Table | Dataset) -> list[str]:
    """Columns of ``upstream``, the table or dataset ``origin``, that a column comes from."""
    if column.origins:
        places = (place.rpartition(".") for place in column.origins)
        return [name for identifier, _, name in places if identifier == origin]
    names = {other.name for other in upstream.columns}
    if (aggregation := column.aggregation) is not None:
        if aggregation.table not in {None, origin}:
            return []
        return [name for name in (aggregation.column, aggregation.weight) if name in names]
    if column.name in names:
        return [column.name]
    if column.name in {bound.name for bound in WINDOW_BOUNDS}:
        return [upstream.event_time if isinstance(upstream, Table) else "event_time"]
    return []
