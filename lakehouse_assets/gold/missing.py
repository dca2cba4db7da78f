"""The check, before anything is computed, that the batch tables which a day is computed from have that day."""

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from contracts import Table, Writer, table
from lakehouse_assets.describe import table_key
from lakehouse_assets.gold.partitions import day_ranges
from lakehouse_assets.gold.recipe import Recipe, time_filter

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

EPOCH = date(1970, 1, 1)


def require_upstream_days(catalog: "Catalog", recipe: Recipe, start: datetime, end: datetime) -> None:
    """See that no batch table lacks a day of ``[start, end)`` for which there are events.

    What is joined without that day would look as if nothing had happened in it. Days that are only compared with
    may be missing: they are before the first that was computed, or had no event.

    Raises:
        dg.Failure: a day is missing; the message has the command that computes it.
    """
    for read in recipe.inputs:
        if read.table.writer is not Writer.SPARK or 0 not in read.days_back:
            continue
        missing = _days_above(catalog, read.table, start, end) - _days(catalog, read.table, start, end)
        if missing:
            asset = table_key(read.table).to_user_string()
            commands = " ; ".join(
                f"./lakehouse backfill {asset} --from {first} --to {last}" for first, last in day_ranges(missing)
            )
            raise dg.Failure(
                f"{recipe.declared.identifier} is not computed: {read.table.identifier} lacks "
                f"{', '.join(map(str, sorted(missing)))}, although there are events. Compute them first: "
                + commands,
                allow_retries=False,
            )


def _days_above(catalog: "Catalog", declared: Table, start: datetime, end: datetime) -> set[date]:
    """Days for which the tables that ``declared`` is computed from have rows."""
    return set[date]().union(*(_days(catalog, table(above), start, end) for above in declared.derived_from))


def _days(catalog: "Catalog", declared: Table, start: datetime, end: datetime) -> set[date]:
    """Days of ``[start, end)`` with rows, from metadata alone."""
    scan = catalog.load_table(declared.identifier).scan(time_filter(declared.event_time, start, end))
    # day transform of the Iceberg specification: days from 1970-01-01
    return {EPOCH + timedelta(days=task.file.partition[0]) for task in scan.plan_files()}
