"""The Iceberg catalog: opens it and brings its tables to what the contracts say."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from pyiceberg.catalog import Catalog
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import (
    NamespaceAlreadyExistsError,
    NoSuchTableError,
    RESTError,
    TableAlreadyExistsError,
)

from contracts import LakehouseError, Table
from resources.evolution import evolve
from resources.iceberg_schema import iceberg_schema, partition_spec, sort_order
from settings import Settings

WRITE_PROPERTIES = {
    "format-version": "2",
    "write.parquet.compression-codec": "zstd",
    # every open file reserves a page: a load of years of history has thousands of partitions open at once
    "write.parquet.page-size-bytes": str(64 << 10),
    # what is read of a file for one sensor's hour is a row group: of 200,000 rows as one it took three times the
    # CPU; the first is what Java's writers go by, the second PyIceberg's
    "write.parquet.row-group-size-bytes": str(2 << 20),
    "write.parquet.row-group-limit": str(32_768),
    # an always-on job makes thousands of snapshots a day; their metadata must not pile up
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "50",
    # a commit that lost a race tries again soon: Iceberg's own limit of a minute lets a busy writer starve it
    "commit.retry.max-wait-ms": "2000",
}


class CatalogUnavailableError(LakehouseError):
    """The catalog or the store does not answer, or does not have a table."""


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
    # of a property that is for the other writers
    warnings.filterwarnings("ignore", "Parquet writer option.*row-group-size-bytes")
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

    What a table can become, and what is refused, says :func:`resources.evolution.evolve`.

    Returns:
        A line for each thing that was changed, empty when all was as declared.

    Raises:
        SchemaMismatchError: a table cannot become what its contract says without losing rows or values.
    """
    changes: list[str] = []
    for table in tables:
        try:
            existing = catalog.load_table(table.identifier)
        except NoSuchTableError:
            _create(catalog, table, commit_retries)
            changes.append(f"created {table.identifier}")
        else:
            changes.extend(evolve(existing, table))
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
