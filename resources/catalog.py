"""The Iceberg catalog: opens it and brings its tables to what the contracts say."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from pyiceberg.catalog import Catalog
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import (
    NamespaceAlreadyExistsError,
    NoSuchTableError,
    ResolveError,
    RESTError,
    TableAlreadyExistsError,
)
from pyiceberg.schema import promote
from pyiceberg.table import Table as IcebergTable
from pyiceberg.types import IcebergType

from contracts import LakehouseError, Table
from resources.iceberg_schema import ICEBERG_TYPES, doc, iceberg_schema, partition_spec, sort_order
from settings import Settings

WRITE_PROPERTIES = {
    "format-version": "2",
    "write.parquet.compression-codec": "zstd",
    # every open file reserves a page: a load of years of history has thousands of partitions open at once
    "write.parquet.page-size-bytes": str(64 << 10),
    # an always-on job makes thousands of snapshots a day; their metadata must not pile up
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "50",
}


class CatalogUnavailableError(LakehouseError):
    """The catalog or the store does not answer, or does not have a table."""


class SchemaMismatchError(LakehouseError):
    """A table differs from its contract in a way that cannot be evolved safely."""


def catalog_properties(settings: Settings) -> dict[str, str]:
    """PyIceberg properties of the REST catalog and of the object store behind it."""
    access_key = settings.s3_access_key.get_secret_value()
    secret_key = settings.s3_secret_key.get_secret_value()
    return {
        "type": "rest",
        "uri": settings.catalog_uri,
        "warehouse": settings.warehouse,
        "credential": f"{access_key}:{secret_key}",
        "oauth2-server-uri": f"{settings.catalog_uri}/v1/oauth/tokens",
        "s3.endpoint": settings.s3_endpoint,
        "s3.access-key-id": access_key,
        "s3.secret-access-key": secret_key,
        "s3.path-style-access": "true",
        "s3.region": settings.s3_region,
        "client.region": settings.s3_region,
    }


def open_catalog(settings: Settings) -> Catalog:
    """Open the catalog; the first request fetches a token."""
    return RestCatalog(settings.catalog_name, **catalog_properties(settings))


@contextmanager
def explained_outages(settings: Settings) -> Iterator[None]:
    """For commands, which end with what to do where catalog or store do not answer.

    Raises:
        CatalogUnavailableError: they do not, or a table is not there.
    """
    try:
        yield
    except (RESTError, NoSuchTableError, OSError) as error:
        raise CatalogUnavailableError(
            f"tables cannot be read from {settings.catalog_uri} ({type(error).__name__}): "
            "`./lakehouse status` shows what runs, `./lakehouse up` starts it"
        ) from error


def ensure_tables(catalog: Catalog, tables: Iterable[Table], *, commit_retries: int) -> list[str]:
    """Create the tables that are missing, and evolve the others to their contracts.

    Columns that a contract has gained are added, those with a wider type are widened, those that need no value any
    more are made optional. What a contract no longer has stays in the table.

    Returns:
        A line for each thing that was changed, empty when all was as declared.

    Raises:
        SchemaMismatchError: a column has a type that old rows cannot be read as, or a new column is required.
    """
    changes: list[str] = []
    for table in tables:
        try:
            existing = catalog.load_table(table.identifier)
        except NoSuchTableError:
            _create(catalog, table, commit_retries)
            changes.append(f"created {table.identifier}")
        else:
            changes.extend(_evolve(existing, table))
    return changes


def _create(catalog: Catalog, table: Table, commit_retries: int) -> None:
    with suppress(NamespaceAlreadyExistsError):  # another table of the layer came first
        catalog.create_namespace(str(table.layer))
    with suppress(TableAlreadyExistsError):  # another process created it since the look
        catalog.create_table(
            table.identifier,
            iceberg_schema(table),
            partition_spec=partition_spec(table),
            sort_order=sort_order(table),
            properties={
                **WRITE_PROPERTIES,
                "commit.retry.num-retries": str(commit_retries),
                "comment": table.description,
            },
        )


def _evolve(existing: IcebergTable, table: Table) -> list[str]:
    """All changes are one commit, or none where one of them is refused."""
    present = {field.name: field for field in existing.schema().fields}
    changes = []
    with existing.update_schema() as update:
        for column in table.columns:
            name, expected = f"{table.identifier}.{column.name}", ICEBERG_TYPES[column.type]
            if (field := present.get(column.name)) is None:
                if not column.nullable:
                    raise SchemaMismatchError(
                        f"{name} is new and required, but old rows lack it: make it nullable in the contract"
                    )
                update.add_column(column.name, expected, doc=doc(column.unit, column.meaning))
                changes.append(f"added {name}")
                continue
            if field.field_type != expected:
                if not _can_widen(field.field_type, expected):
                    raise SchemaMismatchError(
                        f"{name} is {field.field_type} in the catalog and {expected} in the contract: rename the "
                        "column in the contract, or drop the table"
                    )
                update.update_column(column.name, field_type=expected)
                changes.append(f"widened {name} from {field.field_type} to {expected}")
            if field.required and column.nullable:
                update.update_column(column.name, required=False)
                changes.append(f"made {name} nullable")
    return changes


def _can_widen(present: IcebergType, expected: IcebergType) -> bool:
    """Whether old rows can be read as the new type (section "Schema Evolution" of the Iceberg specification)."""
    try:
        return promote(present, expected) == expected
    except ResolveError:
        return False
