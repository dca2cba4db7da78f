"""What a gold table names on a day and the tables that it is derived from do not."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta

import pyarrow.compute as pc
from pyiceberg.catalog import Catalog

from contracts import Table, table
from resources.freshness import newest_event_time
from resources.quality import QualityReport, reference_suite, validate


def newest_day(catalog: Catalog, declared: Table) -> date | None:
    """The newest day that the table has rows of."""
    newest = newest_event_time(catalog.load_table(declared.identifier), declared)
    return None if newest is None else newest.date()


def validate_references(catalog: Catalog, declared: Table, day: date) -> QualityReport:
    """Look for each value of the columns that ``declared`` carries in the rows of ``day`` upstream."""
    columns = tuple(dict.fromkeys((*declared.key, *declared.carried)))
    rows = catalog.load_table(declared.identifier).scan(_of_day(declared, day), columns).to_arrow()
    return validate(declared, rows, reference_suite(declared, _known(catalog, declared, day)))


def _known(catalog: Catalog, declared: Table, day: date) -> Mapping[str, Sequence[str]]:
    """Values of the carried columns in all tables upstream; a batch of rows at a time, since bronze is large."""
    found: dict[str, set[str]] = {column: set() for column in declared.carried}
    for upstream in map(table, declared.derived_from):
        scan = catalog.load_table(upstream.identifier).scan(_of_day(upstream, day), declared.carried)
        for batch in scan.to_arrow_batch_reader():
            for column, values in found.items():
                values.update(pc.unique(batch[column]).to_pylist())
    return {column: sorted(values - {None}) for column, values in found.items()}


def _of_day(declared: Table, day: date) -> str:
    start = datetime.combine(day, time(tzinfo=UTC))
    end = start + timedelta(days=1)
    return f"{declared.event_time} >= '{start.isoformat()}' and {declared.event_time} < '{end.isoformat()}'"
