"""What Dagster shows of a contract: keys, columns with units, lineage, owners, freshness."""

from collections.abc import Sequence

import dagster as dg

from contracts import Column, Family, Table, Writer, families, table
from contracts.rules import Rule
from contracts.tables import WINDOW_BOUNDS, event_columns

TOPIC_PREFIX = "topic:"
WRITER_KINDS = {
    Writer.FLINK: {"flink", "iceberg"},
    Writer.COLLECTOR: {"python", "iceberg"},
    Writer.SPARK: {"spark", "iceberg"},
    Writer.DAGSTER: {"python", "iceberg"},
}


def topic_key(topic: str) -> dg.AssetKey:
    """Asset key of a Kafka topic."""
    return dg.AssetKey(["topic", topic])


def table_key(declared: Table) -> dg.AssetKey:
    """Asset key of a table: namespace and name."""
    return dg.AssetKey([str(declared.layer), declared.name])


def upstream_key(origin: str) -> dg.AssetKey:
    """Asset key of an entry of ``Table.derived_from``.

    Raises:
        ContractError: it names a table that no contract declares.
    """
    if origin.startswith(TOPIC_PREFIX):
        return topic_key(origin.removeprefix(TOPIC_PREFIX))
    return table_key(table(origin))


def topic_spec(member: Family) -> dg.AssetSpec:
    """The topic that the sensors of a family publish to, as an external asset."""
    columns = event_columns(member)
    return dg.AssetSpec(
        topic_key(member.topic),
        description=f"Kafka topic of the {member.name} sensors, JSON. {member.description}",
        group_name="topics",
        kinds={"kafka"},
        owners=list(member.owners),
        tags={"family": member.name, "layer": "topic"},
        freshness_policy=dg.FreshnessPolicy.time_window(
            fail_window=member.freshness.fail_after, warn_window=member.freshness.warn_after
        ),
        metadata={
            "dagster/column_schema": column_schema(columns),
            "dagster/table_name": member.topic,
            "partitions": member.topic_partitions,
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
        freshness_policy=dg.FreshnessPolicy.time_window(
            fail_window=declared.freshness.fail_after, warn_window=declared.freshness.warn_after
        ),
        metadata={
            "dagster/column_schema": column_schema(declared.columns, key=declared.key, rules=declared.rules),
            "dagster/column_lineage": column_lineage(declared),
            "dagster/table_name": declared.identifier,
        },
    )


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


def column_lineage(declared: Table) -> dg.TableColumnLineage:
    """Which upstream columns each column comes from; columns with no origin are left out.

    A column comes from those its contract names, else from its namesake; the bounds of a window come
    from the time of the events in it.
    """
    deps: dict[str, list[dg.TableColumnDep]] = {}
    for origin in declared.derived_from:
        upstream_columns, upstream_time = _upstream_columns(origin)
        for column in declared.columns:
            for source in _source_columns(declared, column, origin, upstream_columns, upstream_time):
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


def _upstream_columns(origin: str) -> tuple[set[str], str]:
    if origin.startswith(TOPIC_PREFIX):
        (member,) = (member for member in families() if member.topic == origin.removeprefix(TOPIC_PREFIX))
        return {column.name for column in event_columns(member)}, "event_time"
    upstream = table(origin)
    return {column.name for column in upstream.columns}, upstream.event_time


def _source_columns(
    declared: Table, column: Column, origin: str, upstream: set[str], upstream_time: str
) -> list[str]:
    """Columns of the upstream ``origin`` that a column comes from."""
    if column.origins:
        places = (place.rpartition(".") for place in column.origins)
        return [name for identifier, _, name in places if identifier == origin]
    if (aggregation := column.aggregation) is not None:
        if aggregation.table not in {None, origin}:
            return []
        return [name for name in (aggregation.column, aggregation.weight) if name in upstream]
    if column.name in upstream:
        return [column.name]
    if declared.tile is not None and column.name in {name.name for name in WINDOW_BOUNDS}:
        return [upstream_time]
    return []
